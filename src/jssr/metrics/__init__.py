"""What a registration is judged by: functions of label maps, points, images and fields."""
