class Compute: pass
