# Given to the interpreter with `-c`: imports the other files of this folder from what main writes to standard input.
import importlib.abc
import importlib.util
import json
import sys


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def __init__(self, sources):
        self.sources = sources

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return importlib.util.spec_from_loader(name, self)

    def get_source(self, name):
        return self.sources[name]

    def get_code(self, name):
        return self.source_to_code(self.get_source(name), f"celeriac/{name}.py")


host = json.load(sys.stdin)
sys.meta_path.append(Sources(host["sources"]))
if "spawned" in host:
    import celeriac_spawned

    celeriac_spawned.main(host)
else:
    import celeriac_zygote

    celeriac_zygote.main(host)
