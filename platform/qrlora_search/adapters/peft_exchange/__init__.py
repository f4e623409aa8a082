"""PEFT's file format: what `PeftModel.from_pretrained` reads. The library itself is not needed to write or read it."""
