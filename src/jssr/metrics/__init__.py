"""What a registration is judged by: functions of label maps, landmarks, images and fields, and one entry for each."""
