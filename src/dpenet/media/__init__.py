"""Pictures as people have them: read and written whole, planned as jobs."""

import os

# Several pictures are read and written side by side anyway, and codecs use one thread each: more of
# them for one picture cost small pictures time, and gain large ones nothing beside the network.
os.environ.setdefault("VIPS_CONCURRENCY", "1")
