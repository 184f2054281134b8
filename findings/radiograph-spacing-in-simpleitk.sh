#!/usr/bin/env bash
# One would guess: SimpleITK gives a radiograph the PixelSpacing that its file holds, as it does for CT. Where that differs
#   from ImagerPixelSpacing, the image has been calibrated, and PixelSpacing is the distance in the patient (DICOM PS3.3,
#   10.7.1.1). A computed radiograph may hold PixelSpacing alone.
# What happens: for CR, DX, mammography and angiography PixelSpacing is never read. The spacing is ImagerPixelSpacing, that
#   at the detector; where a file has none, it is 1 mm. There is no warning, and PixelSpacing stands in the metadata.
# Source: GDCM, gdcmImageHelper.cxx, "GetSpacingTagFromMediaStorage": one attribute for each kind of object. Its switch
#   "ForcePixelSpacing" is not offered by SimpleITK.
# Who is hurt: whoever measures in a calibrated radiograph, or registers one with a CT: all lengths are too large by the
#   magnification, or are numbers of pixels.
# Seen with SimpleITK 2.5.7 and pydicom 3.0.2 (PixelSpacing 0.1 mm, calibrated by an object; ImagerPixelSpacing 0.2 mm):
#   CT: both 0.1, PixelSpacing alone 0.1
#   CR: both 0.2, PixelSpacing alone 1.0
#   DX: both 0.2
#   MG: both 0.2
#   XA: both 0.2, PixelSpacing alone 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

kinds = {
    "CT": uid.CTImageStorage,
    "CR": uid.ComputedRadiographyImageStorage,
    "DX": uid.DigitalXRayImageStorageForPresentation,
    "MG": uid.DigitalMammographyXRayImageStorageForPresentation,
    "XA": uid.XRayAngiographicImageStorage,
}
expected = {"CT": [0.1, 0.1], "CR": [0.2, 1.0], "DX": [0.2], "MG": [0.2], "XA": [0.2, 1.0]}
for modality, kind in kinds.items():
    found = []
    for imager in (True, False)[: len(expected[modality])]:  # DX and MG must hold ImagerPixelSpacing
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        d.SOPClassUID, d.SOPInstanceUID, d.Modality = kind, uid.generate_uid(), modality
        d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
        d.PixelData = bytes(2 * 4 * 5)
        d.PixelSpacing = [0.1, 0.1]
        d.PixelSpacingCalibrationType, d.PixelSpacingCalibrationDescription = "FIDUCIAL", "ball of 25 mm"
        if imager:
            d.ImagerPixelSpacing = [0.2, 0.2]
        d.save_as("image.dcm", enforce_file_format=True)
        assert pydicom.dcmread("image.dcm").PixelSpacing == [0.1, 0.1]
        found.append(sitk.ReadImage("image.dcm").GetSpacing()[0])
    print(f"{modality}: " + ", ".join(f"{name} {v}" for name, v in zip(("both", "PixelSpacing alone"), found)))
    assert found == expected[modality], found
PYTHON
