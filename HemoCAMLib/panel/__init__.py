"""What the module does inside the application: the only room that knows of Qt. Runs in Slicer and in its stand-in."""
