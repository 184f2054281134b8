"""Files in and out: images, points, transforms, DICOM; every file is checked and every write is atomic."""
