"""Pictures with objects in them: generated scenes, COCO and VOC files, a user's own; checked and made square."""
