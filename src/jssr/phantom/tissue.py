"""How bright each tissue of the phantom is in every phase, and how that differs between patients.

The numbers are this project's choice, made to lie within or near published ranges, not copied from any one paper.
Where a published figure was found it stands as a comment above the row, with the tag of its source below. Mostly the
abstract was read, not the paper. Rows without a comment (heart, lung, bowel, stomach, adrenal, skin, disc, canal, ...),
all veins but the portal and hepatic ones, the CT values of metastases and bile, the spread between patients, the
timing and the texture have no source: they are plausible values, no more.

CT means are Hounsfield units at about 120 kVp, for roughly 500 mg iodine per kg. [GOS] and [KID] gave 600 mg/kg, so
the phantom is meant to enhance somewhat less than they report.

- [BOY] Boyce, Pickhardt, Kim et al., "Hepatic steatosis (fatty liver disease) in asymptomatic adults identified by
  unenhanced low-dose CT": 3357 adults.
- [STA] Starekova, Hernando, Pickhardt, Reeder, Radiology 2021;301:250-262: HU against fat fraction, figure 2.
- [RAB] Rabushka, Kawashima, Fishman, Radiographics 1994;14:307-332: the spleen.
- [AWA] "Moderate versus high concentration of contrast material for aortic and hepatic enhancement and tumor-to-liver
  contrast at multi-detector row CT", Radiology 2004;233:682-688: 518 mg/kg, median enhancement in two protocols.
- [GOS] "MDCT of the liver and hypervascular hepatocellular carcinomas: optimizing scan delays for bolus-tracking
  techniques of hepatic arterial and portal venous phases": 600 mg/kg, 171 patients.
- [NAR] Naruo, Tozaki, Fukuda, Fukuda, Radiation Medicine 2007;25:106-112: liver with and without cirrhosis.
- [KID] "Multi-detector row CT of the kidney: optimizing scan delays for bolus tracking techniques of arterial,
  corticomedullary, and nephrographic phases", Eur J Radiol 2007;63:420-426: 600 mg/kg, 128 patients.
- [STU] Stuber, Brambs, Freund, Juchems, World J Radiol 2012;4:324-327: pancreas, early and late arterial, venous.
- [TLC] PubMed 17329690: hepatocellular carcinoma against liver, 9 to 21 s after the trigger.
- [WAS] PubMed 23255745: washout measured. PubMed 14975963 (triple-phase MDCT): washout in 63 to 86 % of carcinomas.
- [PSO] Lawlor, Oliveto, Geske, Khandalavala, J Frailty Sarcopenia Falls 2022;7:38-46: psoas without contrast.
- [BON] doi 10.1186/s13244-023-01400-1 (Insights into Imaging): L1 by bone density. Pickhardt, Pooler, Lauder et al.,
  Ann Intern Med 2013;158:588-595: thresholds of 110 and 160 HU, contrast or not.
- Bae, Radiology 2010;256:32-61, reviews what dose, body size and cardiac output do to enhancement; PMC5015439 shows
  that unenhanced soft tissue differs between scanners of two makers. No number was read from either.

MR signals are spin-echo, `PD (1 - exp(-TR/T1)) exp(-TE/T2)`, with T1 and T2 at 1.5 T.

- [BAZ] de Bazelaire, Duhamel, Rofsky, Alsop, Radiology 2004;230:652, measured both fields, but its abstract gives
  3 T only. The 1.5 T figures here agree with public simulators' tables, which pair them with those 3 T values.
- [STZ] Stanisz, Odrobina, Pun et al., Magn Reson Med 2005;54:507-512: blood and heart in vitro (same tables).
- [TIR] Tirkes, Mitchell, Li et al., Abdom Radiol 2019;44:3133-3138: pancreas.
- [LES] "Hepatic hemangiomas and malignant tumors: improved differentiation with heavily T2-weighted conventional
  spin-echo MR imaging", Radiology 1994;193:43-47: T2 of malignant tumours and cysts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.codes import LABELS, Tissue, labels_of

__all__ = [
    "LABELS",
    "PHASES",
    "TEXTURE",
    "PatientContrast",
    "Texture",
    "Tissue",
    "labels_of",
    "sample_contrast",
    "tissue_values",
]

PHASES = ("non-contrast", "arterial", "venous", "delay", "t1", "t2")


@dataclass(frozen=True)
class _Row:
    """One tissue: HU without contrast, enhancement (HU above that) in three phases, spread, timing, MR."""

    hu: float
    arterial: float = 0.0
    venous: float = 0.0
    delay: float = 0.0
    spread: float = 4.0  # sd of the offset between patients (HU)
    late: float = 0.0  # d log(arterial enhancement) per sd of later timing
    t1: float = 900.0  # ms
    t2: float = 50.0  # ms
    density: float = 1.0  # proton density, water 1; below that also flow void
    sd: float = 5.0  # texture, HU
    length: float = 4.0  # texture, mm


_ARTERY, _VEIN, _PARENCHYMA = -0.12, 0.55, 0.30
_FLOW = 0.35  # blood leaves the slice between the pulses: spin-echo flow void, partial

# Comments: published figures, "+" for enhancement, T1/T2 in ms; arterial, venous, delayed in this order.
_ROWS: dict[Tissue, _Row] = {
    Tissue.AIR: _Row(-1000, spread=0, density=0.0, sd=0),
    Tissue.SKIN: _Row(5, 8, 20, 20, spread=12, t1=700, t2=35, density=0.7, sd=10),
    # 3 T: 382/68 [BAZ]; 1.5 T not confirmed.
    Tissue.FAT_SUBCUTANEOUS: _Row(-106, 0, 1, 1, spread=4, t1=343, t2=58, density=1.0, sd=6, length=5),
    Tissue.FAT_VISCERAL: _Row(-101, 1, 3, 3, spread=6, t1=330, t2=58, density=0.95, sd=9, length=5),
    # 48 +- 5.5 HU [PSO], which includes fat between the fibres, here MUSCLE_FAT. 856/27 [BAZ].
    Tissue.MUSCLE: _Row(54, 4, 10, 11, spread=5, late=0.2, t1=856, t2=27, sd=9, length=5),
    Tissue.DIAPHRAGM: _Row(50, 6, 14, 14, spread=5, t1=856, t2=30),
    Tissue.VERTEBRA_CORTEX: _Row(400, 4, 8, 8, spread=90, t1=700, t2=20, density=0.25, sd=70, length=4),
    # 118 HU with osteoporosis, 143 with osteopenia, 178 normal [BON]. 549/49 [BAZ].
    Tissue.VERTEBRA_MARROW: _Row(140, 6, 16, 14, spread=45, t1=549, t2=49, density=0.7, sd=32, length=5),
    Tissue.DISC: _Row(82, 2, 6, 8, spread=12, t1=1100, t2=70, density=0.8, sd=10),
    Tissue.CANAL: _Row(18, 2, 6, 8, spread=5, t1=2200, t2=300, density=0.9, sd=8),
    Tissue.RIB_CORTEX: _Row(420, 3, 6, 6, spread=80, t1=700, t2=20, density=0.3, sd=60, length=3),
    Tissue.RIB_MARROW: _Row(140, 5, 12, 12, spread=50, t1=500, t2=49, density=0.7, sd=30, length=3),
    Tissue.CARTILAGE: _Row(105, 2, 6, 10, spread=18, t1=1050, t2=35, density=0.7, sd=16, length=4),
    Tissue.PELVIS_CORTEX: _Row(500, 3, 6, 6, spread=90, t1=700, t2=20, density=0.25, sd=70, length=4),
    Tissue.PELVIS_MARROW: _Row(110, 5, 12, 12, spread=40, t1=450, t2=49, density=0.75, sd=32, length=5),
    Tissue.LUNG: _Row(-840, 6, 8, 6, spread=35, t1=1200, t2=30, density=0.12, sd=30, length=6),
    Tissue.LUNG_VESSEL: _Row(-120, 120, 70, 45, spread=60, t1=1441, t2=200, density=0.2, sd=20),
    # 1030/40 [STZ].
    Tissue.MYOCARDIUM: _Row(46, 55, 62, 48, spread=4, late=0.3, t1=1030, t2=40, sd=6),
    Tissue.HEART_BLOOD: _Row(42, 190, 105, 70, spread=4, late=0.0, t1=1441, t2=290, density=_FLOW, sd=6),
    # 58.8 +- 10.8 HU [BOY]; +17 to +21, +47 to +48, +34 to +35 [AWA]; +15 to +25, +59 to +63 [GOS];
    # venous +56 +- 14, with cirrhosis +40 +- 12 [NAR]. 586/46 [BAZ].
    Tissue.LIVER: _Row(57, 14, 52, 34, spread=5, late=0.45, t1=586, t2=46, sd=6, length=4),
    # Arterial +24 to +51 [GOS].
    Tissue.HEPATIC_VEIN: _Row(42, 20, 110, 66, spread=3, late=0.9, t1=1441, t2=250, density=_FLOW, sd=5),
    Tissue.PORTAL_BRANCH: _Row(42, 55, 124, 68, spread=3, late=0.8, t1=1441, t2=250, density=_FLOW, sd=5),
    # Arterial 23 to 47 HU above the liver [TLC]; delayed, liver to tumour 1.21 [WAS]. Malignant T2 76 +- 11 [LES].
    Tissue.HCC: _Row(47, 58, 46, 28, spread=6, late=0.15, t1=1050, t2=84, sd=10, length=5),
    Tissue.HCC_CAPSULE: _Row(48, 22, 56, 54, spread=6, late=0.2, t1=900, t2=60),
    Tissue.HCC_NECROSIS: _Row(28, 4, 7, 8, spread=6, t1=1700, t2=120, sd=8),
    Tissue.METASTASIS: _Row(38, 9, 26, 28, spread=7, late=0.3, t1=1000, t2=80, sd=8, length=5),
    Tissue.METASTASIS_RIM: _Row(46, 34, 46, 36, spread=7, late=0.2, t1=950, t2=75, sd=8),
    Tissue.METASTASIS_NECROSIS: _Row(23, 2, 5, 6, spread=6, t1=1700, t2=130, sd=7),
    # -10 to 10 HU, no enhancement (teaching pages). T2 341 +- 38 from two echoes [LES], which shortens long times.
    Tissue.CYST: _Row(7, 0, 1, 1, spread=4, t1=3000, t2=600, sd=4),
    Tissue.GALLBLADDER_WALL: _Row(38, 14, 34, 30, spread=8, t1=900, t2=60),
    Tissue.BILE: _Row(9, 0, 1, 2, spread=5, t1=1900, t2=450, sd=4),
    # 40 to 60 HU, 5 to 10 below the liver [RAB]; +97 to +108, +73 to +82 [GOS]. 1057/79 [BAZ].
    Tissue.SPLEEN: _Row(48, 84, 70, 46, spread=4, late=0.2, t1=1057, t2=79, sd=5),
    # Kidney 30 to 50 HU (teaching pages). Cortex arterial +195 to +217, 110 to 140 above the medulla; venous less than
    # 30 above the medulla, which reaches +145 [KID]. Cortex 966/87, medulla 1412/85 [BAZ].
    Tissue.KIDNEY_RIGHT_CORTEX: _Row(33, 155, 148, 112, spread=4, late=0.12, t1=966, t2=87, sd=7, length=4),
    Tissue.KIDNEY_RIGHT_MEDULLA: _Row(31, 38, 122, 116, spread=4, late=0.7, t1=1412, t2=85, sd=8, length=4),
    Tissue.KIDNEY_RIGHT_PELVIS: _Row(6, 3, 18, 420, spread=4, t1=2600, t2=500, sd=5),
    Tissue.KIDNEY_LEFT_CORTEX: _Row(33, 155, 148, 112, spread=4, late=0.12, t1=966, t2=87, sd=7, length=4),
    Tissue.KIDNEY_LEFT_MEDULLA: _Row(31, 38, 122, 116, spread=4, late=0.7, t1=1412, t2=85, sd=8, length=4),
    Tissue.KIDNEY_LEFT_PELVIS: _Row(6, 3, 18, 420, spread=4, t1=2600, t2=500, sd=5),
    Tissue.RENAL_CYST_RIGHT: _Row(8, 0, 1, 2, spread=5, t1=3000, t2=600, sd=4),
    Tissue.RENAL_CYST_LEFT: _Row(8, 0, 1, 2, spread=5, t1=3000, t2=600, sd=4),
    # Total HU: early arterial 74 to 77, late 100 to 111; venous 67 to 84 [STU]. 584/46 [BAZ]; T1 608 to 700 [TIR].
    Tissue.PANCREAS: _Row(40, 58, 50, 34, spread=7, late=0.2, t1=584, t2=50, sd=12, length=3),
    Tissue.ADRENAL: _Row(22, 44, 46, 30, spread=9, late=0.2, t1=850, t2=60),
    Tissue.STOMACH_WALL: _Row(40, 36, 48, 38, spread=6, late=0.2, t1=850, t2=60, sd=8),
    Tissue.STOMACH_CONTENT: _Row(18, 0, 1, 1, spread=14, t1=2200, t2=350, sd=12, length=7),
    Tissue.STOMACH_GAS: _Row(-970, spread=15, density=0.0, sd=4),
    Tissue.SMALL_BOWEL_WALL: _Row(40, 42, 54, 42, spread=6, late=0.25, t1=850, t2=60, sd=8),
    Tissue.SMALL_BOWEL_CONTENT: _Row(22, 3, 6, 6, spread=9, t1=1800, t2=250, sd=9, length=5),
    Tissue.BOWEL_GAS: _Row(-920, spread=40, density=0.0, sd=15),
    Tissue.COLON_WALL: _Row(38, 26, 40, 36, spread=6, late=0.25, t1=850, t2=55, sd=8),
    Tissue.STOOL: _Row(8, 0, 0, 0, spread=28, t1=900, t2=90, density=0.7, sd=70, length=5),
    # +185 to +344 (both arterial phases), +112 to +121, +69 to +73 [AWA]; +300 to +336, +117 to +125 [GOS].
    # Blood 1441/290 [STZ].
    Tissue.AORTA: _Row(42, 265, 108, 70, spread=3, late=_ARTERY, t1=1441, t2=290, density=_FLOW, sd=5),
    Tissue.CALCIFICATION: _Row(480, 0, 0, 0, spread=120, t1=1000, t2=10, density=0.1, sd=40),
    Tissue.VENA_CAVA: _Row(40, 45, 96, 68, spread=3, late=0.5, t1=1441, t2=250, density=_FLOW, sd=7, length=8),
    # Arterial +75 to +104 [GOS].
    Tissue.PORTAL_VEIN: _Row(42, 62, 126, 70, spread=3, late=0.8, t1=1441, t2=250, density=_FLOW, sd=5),
    # Renal artery +240 to +288 [KID].
    Tissue.ARTERY: _Row(42, 235, 100, 66, spread=3, late=_ARTERY, t1=1441, t2=290, density=_FLOW, sd=5),
    Tissue.RENAL_VEIN: _Row(41, 105, 118, 76, spread=3, late=0.4, t1=1441, t2=250, density=_FLOW, sd=5),
    Tissue.MESENTERIC_VEIN: _Row(40, 60, 112, 66, spread=4, late=0.6, t1=1441, t2=250, density=_FLOW, sd=5),
    Tissue.OESOPHAGUS: _Row(36, 20, 32, 28, spread=6, t1=850, t2=55, sd=8),
    Tissue.TABLE: _Row(-120, spread=120, density=0.0, sd=5),
    Tissue.FAT_PLANE: _Row(-101, 1, 3, 3, spread=0, t1=330, t2=58, density=0.95, sd=9, length=5),
    Tissue.BLADDER_WALL: _Row(38, 10, 26, 26, spread=5, t1=850, t2=45, sd=6),
    Tissue.URINE: _Row(4, 0, 0, 120, spread=4, t1=3200, t2=700, sd=3),
    # The peripheral zone is bright in T2, the central gland mixed and darker (teaching pages).
    Tissue.PROSTATE_CENTRAL: _Row(40, 20, 42, 40, spread=5, t1=1250, t2=80, sd=9, length=5),
    Tissue.PROSTATE_PERIPHERAL: _Row(37, 12, 32, 34, spread=5, t1=1450, t2=140, sd=7, length=4),
    Tissue.URETHRA: _Row(30, 5, 15, 15, spread=5, t1=1500, t2=160),
    Tissue.SEMINAL_VESICLE: _Row(22, 8, 24, 26, spread=6, t1=1700, t2=200, sd=9, length=3),
    Tissue.RECTUM_WALL: _Row(40, 26, 42, 38, spread=5, t1=850, t2=55, sd=7),
    Tissue.RECTUM_CONTENT: _Row(20, 0, 0, 0, spread=22, t1=900, t2=75, density=0.7, sd=45, length=5),
    Tissue.RECTUM_GAS: _Row(-940, spread=25, density=0.0, sd=8),
    Tissue.FEMUR_CORTEX: _Row(620, 2, 4, 4, spread=100, t1=700, t2=20, density=0.2, sd=70, length=4),
    Tissue.FEMUR_MARROW: _Row(160, 2, 5, 5, spread=45, t1=330, t2=55, density=0.85, sd=34, length=5),
    Tissue.MUSCLE_FAT: _Row(-65, 0, 2, 2, spread=14, t1=400, t2=55, density=0.95, sd=12),
}


@dataclass(frozen=True)
class Texture:
    """Structure inside a tissue: `sd` (HU) and correlation `length` (mm), indexed by tissue code, (256,) each."""

    sd: NDArray[np.float32]
    length: NDArray[np.float32]


def _column(name: str) -> NDArray[np.float32]:
    out = np.zeros(256, dtype=np.float32)
    for tissue, row in _ROWS.items():
        out[int(tissue)] = getattr(row, name)
    return out


TEXTURE = Texture(sd=_column("sd"), length=np.maximum(_column("length"), 1.0))


@dataclass(frozen=True)
class PatientContrast:
    """What stays the same in all phases of one patient.

    Args:
        offset: (256,) HU added to a tissue without contrast.
        gain: (256,) factor on a tissue's enhancement.
        dose: factor on all enhancement: contrast per blood volume.
        timing: how late the arterial phase was taken, in sd: below 0 early arterial, above 0 late (portal inflow).
        oral: HU that oral contrast adds to stomach and small bowel (0 without).
        water: (256,) factor on MR signals.
    """

    offset: NDArray[np.float32]
    gain: NDArray[np.float32]
    dose: float = 1.0
    timing: float = 0.0
    oral: float = 0.0
    water: NDArray[np.float32] = field(default_factory=lambda: np.ones(256, dtype=np.float32))


_TWINS = (
    (Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_LEFT_CORTEX),
    (Tissue.KIDNEY_RIGHT_MEDULLA, Tissue.KIDNEY_LEFT_MEDULLA),
    (Tissue.KIDNEY_RIGHT_PELVIS, Tissue.KIDNEY_LEFT_PELVIS),
    (Tissue.PORTAL_VEIN, Tissue.PORTAL_BRANCH),
    (Tissue.AORTA, Tissue.ARTERY),
)
_LIVER_LESIONS = (Tissue.HCC, Tissue.METASTASIS)


def sample_contrast(rng: np.random.Generator) -> PatientContrast:
    """Draw one patient: fat in liver and pancreas, bone density, dose, timing, oral contrast."""
    offset = _column("spread") * rng.standard_normal(256).clip(-2.5, 2.5).astype(np.float32)
    gain = np.exp(0.10 * rng.standard_normal(256).clip(-2.5, 2.5)).astype(np.float32)
    water = np.exp(0.10 * rng.standard_normal(256).clip(-2.5, 2.5)).astype(np.float32)
    # Steatosis lowers the liver by about 1.7 HU per per cent of fat fraction ([STA]: 65, 23, -3 HU at 0.5, 25, 40 %),
    # so this is about 7 to 22 %. [BOY] finds 6 % of adults at 40 HU or less, up to 46 % with milder criteria.
    if rng.random() < 0.22:
        offset[Tissue.LIVER] -= np.float32(rng.uniform(12, 38))
    offset[Tissue.PANCREAS] -= np.float32(rng.uniform(0, 25) * (rng.random() < 0.4))
    bone = np.float32(rng.standard_normal())
    for tissue in (Tissue.VERTEBRA_MARROW, Tissue.RIB_MARROW, Tissue.PELVIS_MARROW):
        offset[tissue] = 0.4 * offset[tissue] + 40 * bone
    for tissue in (Tissue.VERTEBRA_CORTEX, Tissue.RIB_CORTEX, Tissue.PELVIS_CORTEX):
        offset[tissue] = 0.4 * offset[tissue] + 70 * bone
    for first, second in _TWINS:
        for values in (offset, gain, water):
            values[second] = values[first]
    return PatientContrast(
        offset,
        gain,
        dose=float(np.exp(0.15 * np.clip(rng.standard_normal(), -2, 2))),
        timing=float(np.clip(rng.standard_normal(), -1.8, 1.8)),
        oral=float(rng.uniform(60, 260) if rng.random() < 0.2 else 0.0),
        water=water,
    )


def tissue_values(phase: str, rng: np.random.Generator, patient: PatientContrast) -> NDArray[np.float32]:
    """Mean value of each tissue code in one scan of one patient.

    Args:
        phase: "non-contrast", "arterial", "venous", "delay" (Hounsfield units) or "t1", "t2" (arbitrary,
            about 0..1000).
        rng: small differences between two scans of one patient.
        patient: from `sample_contrast`.

    Returns:
        (256,) indexed by tissue code.

    Raises:
        ValueError: another phase.
    """
    if phase in ("t1", "t2"):
        return _mr_values(phase, rng, patient)
    if phase not in PHASES:
        raise ValueError(f"phase must be one of {', '.join(PHASES)}, got {phase!r}")
    values = _column("hu") + patient.offset
    jitter = rng.standard_normal(256).clip(-2.5, 2.5).astype(np.float32)
    if phase != "non-contrast":
        enhancement = _column(phase) * patient.gain * np.float32(patient.dose)
        if phase == "arterial":
            late = _column("late")
            # Log-normal over patients, with the table as its mean.
            enhancement *= np.exp(late * np.float32(patient.timing) - 0.5 * late**2)
        values += enhancement * (1 + 0.04 * jitter)
    values += 0.15 * _column("spread") * jitter
    if patient.oral:
        # Oral contrast dilutes on its way: the stomach keeps the most.
        values[Tissue.STOMACH_CONTENT] += patient.oral
        values[Tissue.SMALL_BOWEL_CONTENT] += 0.7 * patient.oral
    values[Tissue.AIR] = -1000
    return np.clip(values, -1000, 1500).astype(np.float32)


def _mr_values(phase: str, rng: np.random.Generator, patient: PatientContrast) -> NDArray[np.float32]:
    repetition, echo = (520.0, 12.0) if phase == "t1" else (4000.0, 90.0)
    repetition *= float(np.exp(0.12 * rng.standard_normal()))
    echo *= float(np.exp(0.12 * rng.standard_normal()))
    t1, t2 = np.maximum(_column("t1"), 1), np.maximum(_column("t2"), 1)
    signal = _column("density") * (1 - np.exp(-repetition / t1)) * np.exp(-echo / t2) * patient.water
    scale = 1150.0 if phase == "t1" else 1300.0
    jitter = np.exp(0.04 * rng.standard_normal(256).clip(-2.5, 2.5))
    return (scale * signal * jitter).astype(np.float32)
