"""The commands, one small file per command or family. The registry finds every module here."""
