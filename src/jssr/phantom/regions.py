"""The regions of the phantom: code, name, label, contrast and texture of each tissue in one entry.

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

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BODY_LABELS",
    "LABELS",
    "PELVIS_LABELS",
    "Region",
    "Tissue",
    "body_labels_of",
    "column",
    "labels_of",
    "pelvis_labels_of",
]

LABELS: dict[str, int] = {
    "liver": 1,
    "spleen": 2,
    "kidney_right": 3,
    "kidney_left": 4,
    "pancreas": 5,
    "gallbladder": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior_vena_cava": 9,
    "portal_vein": 10,
    "bowel": 11,
    "vertebrae": 12,
    "ribs": 13,
    "lung": 14,
    "muscle": 15,
    "liver_tumour": 16,
    "adrenal_gland": 17,
    "heart": 18,
}

PELVIS_LABELS: dict[str, int] = {
    "bladder": 1,
    "prostate": 2,
    "rectum": 3,
    "femoral_heads": 4,
    "pelvis": 5,
    "muscle": 6,
}

BODY_LABELS: dict[str, int] = LABELS | {
    "bladder": 19,
    "prostate": 20,
    "rectum": 21,
    "femurs": 22,
    "pelvis": 23,
}

_LATE_ARTERY = -0.12
_FLOW_VOID = 0.35  # blood leaves the slice between the pulses: spin-echo flow void, partial


@dataclass(frozen=True)
class Region:
    """One tissue: HU without contrast, enhancement (HU above that) in three phases, spread, timing, MR, texture,
    and the labels that it counts to."""

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
    abdomen: str = ""  # a name of LABELS
    pelvis: str = ""  # a name of PELVIS_LABELS


class Tissue(IntEnum):
    """Codes of `Anatomy.tissue`, finer than the evaluation labels: `NAME = code, Region(...)`.

    Comments: published figures, "+" for enhancement, T1/T2 in ms; arterial, venous, delayed in this order.
    """

    region: Region

    def __new__(cls, code: int, region: Region) -> Tissue:
        """An integer that knows its region."""
        tissue = int.__new__(cls, code)
        tissue._value_ = code
        tissue.region = region
        return tissue

    # fmt: off
    AIR = 0, Region(-1000, spread=0, density=0.0, sd=0)
    SKIN = 1, Region(5, 8, 20, 20, spread=12, t1=700, t2=35, density=0.7, sd=10)
    # 3 T: 382/68 [BAZ]; 1.5 T not confirmed.
    FAT_SUBCUTANEOUS = 2, Region(-106, 0, 1, 1, spread=4, t1=343, t2=58, density=1.0, sd=6, length=5)
    FAT_VISCERAL = 3, Region(-101, 1, 3, 3, spread=6, t1=330, t2=58, density=0.95, sd=9, length=5)
    # 48 +- 5.5 HU [PSO], which includes fat between the fibres, here MUSCLE_FAT. 856/27 [BAZ].
    MUSCLE = 4, Region(54, 4, 10, 11, spread=5, late=0.2, t1=856, t2=27, sd=9, length=5,
                       abdomen="muscle", pelvis="muscle")
    DIAPHRAGM = 5, Region(50, 6, 14, 14, spread=5, t1=856, t2=30)
    VERTEBRA_CORTEX = 6, Region(400, 4, 8, 8, spread=90, t1=700, t2=20, density=0.25, sd=70, length=4,
                                abdomen="vertebrae")
    # 118 HU with osteoporosis, 143 with osteopenia, 178 normal [BON]. 549/49 [BAZ].
    VERTEBRA_MARROW = 7, Region(140, 6, 16, 14, spread=45, t1=549, t2=49, density=0.7, sd=32, length=5,
                                abdomen="vertebrae")
    DISC = 8, Region(82, 2, 6, 8, spread=12, t1=1100, t2=70, density=0.8, sd=10, abdomen="vertebrae")
    CANAL = 9, Region(18, 2, 6, 8, spread=5, t1=2200, t2=300, density=0.9, sd=8)
    RIB_CORTEX = 10, Region(420, 3, 6, 6, spread=80, t1=700, t2=20, density=0.3, sd=60, length=3, abdomen="ribs")
    RIB_MARROW = 11, Region(140, 5, 12, 12, spread=50, t1=500, t2=49, density=0.7, sd=30, length=3, abdomen="ribs")
    CARTILAGE = 12, Region(105, 2, 6, 10, spread=18, t1=1050, t2=35, density=0.7, sd=16, length=4)
    PELVIS_CORTEX = 13, Region(500, 3, 6, 6, spread=90, t1=700, t2=20, density=0.25, sd=70, length=4, pelvis="pelvis")
    PELVIS_MARROW = 14, Region(110, 5, 12, 12, spread=40, t1=450, t2=49, density=0.75, sd=32, length=5, pelvis="pelvis")
    LUNG = 15, Region(-840, 6, 8, 6, spread=35, t1=1200, t2=30, density=0.12, sd=30, length=6, abdomen="lung")
    LUNG_VESSEL = 16, Region(-120, 120, 70, 45, spread=60, t1=1441, t2=200, density=0.2, sd=20, abdomen="lung")
    # 1030/40 [STZ].
    MYOCARDIUM = 17, Region(46, 55, 62, 48, spread=4, late=0.3, t1=1030, t2=40, sd=6, abdomen="heart")
    HEART_BLOOD = 18, Region(42, 190, 105, 70, spread=4, late=0.0, t1=1441, t2=290, density=_FLOW_VOID, sd=6,
                             abdomen="heart")
    # 58.8 +- 10.8 HU [BOY]; +17 to +21, +47 to +48, +34 to +35 [AWA]; +15 to +25, +59 to +63 [GOS];
    # venous +56 +- 14, with cirrhosis +40 +- 12 [NAR]. 586/46 [BAZ].
    LIVER = 19, Region(57, 14, 52, 34, spread=5, late=0.45, t1=586, t2=46, sd=6, length=4, abdomen="liver")
    # Arterial +24 to +51 [GOS].
    HEPATIC_VEIN = 20, Region(42, 20, 110, 66, spread=3, late=0.9, t1=1441, t2=250, density=_FLOW_VOID, sd=5,
                              abdomen="liver")
    PORTAL_BRANCH = 21, Region(42, 55, 124, 68, spread=3, late=0.8, t1=1441, t2=250, density=_FLOW_VOID, sd=5,
                               abdomen="liver")
    # Arterial 23 to 47 HU above the liver [TLC]; delayed, liver to tumour 1.21 [WAS]. Malignant T2 76 +- 11 [LES].
    HCC = 22, Region(47, 58, 46, 28, spread=6, late=0.15, t1=1050, t2=84, sd=10, length=5, abdomen="liver_tumour")
    HCC_CAPSULE = 23, Region(48, 22, 56, 54, spread=6, late=0.2, t1=900, t2=60, abdomen="liver_tumour")
    HCC_NECROSIS = 24, Region(28, 4, 7, 8, spread=6, t1=1700, t2=120, sd=8, abdomen="liver_tumour")
    METASTASIS = 25, Region(38, 9, 26, 28, spread=7, late=0.3, t1=1000, t2=80, sd=8, length=5, abdomen="liver_tumour")
    METASTASIS_RIM = 26, Region(46, 34, 46, 36, spread=7, late=0.2, t1=950, t2=75, sd=8, abdomen="liver_tumour")
    METASTASIS_NECROSIS = 27, Region(23, 2, 5, 6, spread=6, t1=1700, t2=130, sd=7, abdomen="liver_tumour")
    # -10 to 10 HU, no enhancement (teaching pages). T2 341 +- 38 from two echoes [LES], which shortens long times.
    CYST = 28, Region(7, 0, 1, 1, spread=4, t1=3000, t2=600, sd=4, abdomen="liver")
    GALLBLADDER_WALL = 29, Region(38, 14, 34, 30, spread=8, t1=900, t2=60, abdomen="gallbladder")
    BILE = 30, Region(9, 0, 1, 2, spread=5, t1=1900, t2=450, sd=4, abdomen="gallbladder")
    # 40 to 60 HU, 5 to 10 below the liver [RAB]; +97 to +108, +73 to +82 [GOS]. 1057/79 [BAZ].
    SPLEEN = 31, Region(48, 84, 70, 46, spread=4, late=0.2, t1=1057, t2=79, sd=5, abdomen="spleen")
    # Kidney 30 to 50 HU (teaching pages). Cortex arterial +195 to +217, 110 to 140 above the medulla; venous less than
    # 30 above the medulla, which reaches +145 [KID]. Cortex 966/87, medulla 1412/85 [BAZ].
    KIDNEY_RIGHT_CORTEX = 32, Region(33, 155, 148, 112, spread=4, late=0.12, t1=966, t2=87, sd=7, length=4,
                                     abdomen="kidney_right")
    KIDNEY_RIGHT_MEDULLA = 33, Region(31, 38, 122, 116, spread=4, late=0.7, t1=1412, t2=85, sd=8, length=4,
                                      abdomen="kidney_right")
    KIDNEY_RIGHT_PELVIS = 34, Region(6, 3, 18, 420, spread=4, t1=2600, t2=500, sd=5, abdomen="kidney_right")
    KIDNEY_LEFT_CORTEX = 35, Region(33, 155, 148, 112, spread=4, late=0.12, t1=966, t2=87, sd=7, length=4,
                                    abdomen="kidney_left")
    KIDNEY_LEFT_MEDULLA = 36, Region(31, 38, 122, 116, spread=4, late=0.7, t1=1412, t2=85, sd=8, length=4,
                                     abdomen="kidney_left")
    KIDNEY_LEFT_PELVIS = 37, Region(6, 3, 18, 420, spread=4, t1=2600, t2=500, sd=5, abdomen="kidney_left")
    RENAL_CYST_RIGHT = 38, Region(8, 0, 1, 2, spread=5, t1=3000, t2=600, sd=4, abdomen="kidney_right")
    RENAL_CYST_LEFT = 39, Region(8, 0, 1, 2, spread=5, t1=3000, t2=600, sd=4, abdomen="kidney_left")
    # Total HU: early arterial 74 to 77, late 100 to 111; venous 67 to 84 [STU]. 584/46 [BAZ]; T1 608 to 700 [TIR].
    PANCREAS = 40, Region(40, 58, 50, 34, spread=7, late=0.2, t1=584, t2=50, sd=12, length=3, abdomen="pancreas")
    ADRENAL = 41, Region(22, 44, 46, 30, spread=9, late=0.2, t1=850, t2=60, abdomen="adrenal_gland")
    STOMACH_WALL = 42, Region(40, 36, 48, 38, spread=6, late=0.2, t1=850, t2=60, sd=8, abdomen="stomach")
    STOMACH_CONTENT = 43, Region(18, 0, 1, 1, spread=14, t1=2200, t2=350, sd=12, length=7, abdomen="stomach")
    STOMACH_GAS = 44, Region(-970, spread=15, density=0.0, sd=4, abdomen="stomach")
    SMALL_BOWEL_WALL = 45, Region(40, 42, 54, 42, spread=6, late=0.25, t1=850, t2=60, sd=8, abdomen="bowel")
    SMALL_BOWEL_CONTENT = 46, Region(22, 3, 6, 6, spread=9, t1=1800, t2=250, sd=9, length=5, abdomen="bowel")
    BOWEL_GAS = 47, Region(-920, spread=40, density=0.0, sd=15, abdomen="bowel")
    COLON_WALL = 48, Region(38, 26, 40, 36, spread=6, late=0.25, t1=850, t2=55, sd=8, abdomen="bowel")
    STOOL = 49, Region(8, 0, 0, 0, spread=28, t1=900, t2=90, density=0.7, sd=70, length=5, abdomen="bowel")
    # +185 to +344 (both arterial phases), +112 to +121, +69 to +73 [AWA]; +300 to +336, +117 to +125 [GOS].
    # Blood 1441/290 [STZ].
    AORTA = 50, Region(42, 265, 108, 70, spread=3, late=_LATE_ARTERY, t1=1441, t2=290, density=_FLOW_VOID, sd=5,
                       abdomen="aorta")
    CALCIFICATION = 51, Region(480, 0, 0, 0, spread=120, t1=1000, t2=10, density=0.1, sd=40, abdomen="aorta")
    VENA_CAVA = 52, Region(40, 45, 96, 68, spread=3, late=0.5, t1=1441, t2=250, density=_FLOW_VOID, sd=7, length=8,
                           abdomen="inferior_vena_cava")
    # Arterial +75 to +104 [GOS].
    PORTAL_VEIN = 53, Region(42, 62, 126, 70, spread=3, late=0.8, t1=1441, t2=250, density=_FLOW_VOID, sd=5,
                             abdomen="portal_vein")
    # Renal artery +240 to +288 [KID].
    ARTERY = 54, Region(42, 235, 100, 66, spread=3, late=_LATE_ARTERY, t1=1441, t2=290, density=_FLOW_VOID, sd=5)
    RENAL_VEIN = 55, Region(41, 105, 118, 76, spread=3, late=0.4, t1=1441, t2=250, density=_FLOW_VOID, sd=5)
    MESENTERIC_VEIN = 56, Region(40, 60, 112, 66, spread=4, late=0.6, t1=1441, t2=250, density=_FLOW_VOID, sd=5)
    OESOPHAGUS = 57, Region(36, 20, 32, 28, spread=6, t1=850, t2=55, sd=8)
    TABLE = 58, Region(-120, spread=120, density=0.0, sd=5)
    # fat between muscles: counts as muscle
    MUSCLE_FAT = 59, Region(-65, 0, 2, 2, spread=14, t1=400, t2=55, density=0.95, sd=12,
                            abdomen="muscle", pelvis="muscle")
    # only while painting: fat that keeps organs apart
    FAT_PLANE = 60, Region(-101, 1, 3, 3, spread=0, t1=330, t2=58, density=0.95, sd=9, length=5)
    BLADDER_WALL = 61, Region(38, 10, 26, 26, spread=5, t1=850, t2=45, sd=6, pelvis="bladder")
    URINE = 62, Region(4, 0, 0, 120, spread=4, t1=3200, t2=700, sd=3, pelvis="bladder")
    # The peripheral zone is bright in T2, the central gland mixed and darker (teaching pages).
    PROSTATE_CENTRAL = 63, Region(40, 20, 42, 40, spread=5, t1=1250, t2=80, sd=9, length=5, pelvis="prostate")
    PROSTATE_PERIPHERAL = 64, Region(37, 12, 32, 34, spread=5, t1=1450, t2=140, sd=7, length=4, pelvis="prostate")
    URETHRA = 65, Region(30, 5, 15, 15, spread=5, t1=1500, t2=160, pelvis="prostate")
    SEMINAL_VESICLE = 66, Region(22, 8, 24, 26, spread=6, t1=1700, t2=200, sd=9, length=3)
    RECTUM_WALL = 67, Region(40, 26, 42, 38, spread=5, t1=850, t2=55, sd=7, pelvis="rectum")
    RECTUM_CONTENT = 68, Region(20, 0, 0, 0, spread=22, t1=900, t2=75, density=0.7, sd=45, length=5, pelvis="rectum")
    RECTUM_GAS = 69, Region(-940, spread=25, density=0.0, sd=8, pelvis="rectum")
    FEMUR_CORTEX = 70, Region(620, 2, 4, 4, spread=100, t1=700, t2=20, density=0.2, sd=70, length=4,
                              pelvis="femoral_heads")
    FEMUR_MARROW = 71, Region(160, 2, 5, 5, spread=45, t1=330, t2=55, density=0.85, sd=34, length=5,
                              pelvis="femoral_heads")
    # fmt: on


def column(name: str) -> NDArray[np.float32]:
    """One number of every region, (256,) indexed by tissue code."""
    out = np.zeros(256, dtype=np.float32)
    for tissue in Tissue:
        out[tissue] = getattr(tissue.region, name)
    return out


def _label_table(anatomy: str, values: dict[str, int]) -> NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    for tissue in Tissue:
        table[tissue] = values.get(getattr(tissue.region, anatomy), 0)
    return table


_ABDOMEN, _PELVIS = _label_table("abdomen", LABELS), _label_table("pelvis", PELVIS_LABELS)
_BODY = np.maximum(_ABDOMEN, _label_table("pelvis", BODY_LABELS | {"femoral_heads": BODY_LABELS["femurs"]}))


def labels_of(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map tissue codes to the evaluation labels of the abdomen, same shape."""
    return _ABDOMEN[tissue]


def pelvis_labels_of(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map tissue codes to the evaluation labels of the pelvis, same shape."""
    return _PELVIS[tissue]


def body_labels_of(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map tissue codes to the evaluation labels of the body, same shape."""
    return _BODY[tissue]
