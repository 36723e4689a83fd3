"""Pictures with annotated objects: generated, from COCO and VOC files; checked, and fitted into squares."""
