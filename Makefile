# make demo   a study in, a mask out, in an environment of its own (no torch)
# make serve  keep the demo's server running on http://127.0.0.1:8000
# make test   every check and test
# make system the Debian packages that tests start for real (as root)
PYTHON ?= python3
DEMO := .venv-demo
DEV := .venv
# No line of these runs without a GPU, so a machine without one cannot cover them.
GPU_ONLY := */engines/cuda.py,*/engines/tensorrt_build.py,*/engines/tensorrt_engine.py

# A file's tests stay together and in their order, so that what they share is made once. Two workers
# more than there are cores: much of a test is waiting for what it has started.
SIDE_BY_SIDE := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# For long trials, whose tests take longer than others may.
LONG := --timeout 7200 -o faulthandler_timeout=7500

.PHONY: demo serve sbom system test test-slow faults fuzz mutants load container-test check page docs pictures site lock format demo-models bench clean

demo: $(DEMO)/.ready
	$(DEMO)/bin/python examples/demo.py

serve: $(DEMO)/.ready
	$(DEMO)/bin/brainmvp serve --models examples/bundles --jobs-storage runs/jobs

system:
	tests/system.sh

# Nothing is tried again but what tests/support/run_rules.py names, with the reason beside it.
test: check $(DEMO)/.ready
	BRAINMVP_DEMO_PYTHON=$(DEMO)/bin/python $(DEV)/bin/pytest $(SIDE_BY_SIDE) --durations 10 --cov --cov-report=
	$(DEV)/bin/coverage report --include='*/imaging/*,*/inference/*,*/api/*' --omit='$(GPU_ONLY)' --skip-covered --fail-under=90

# What takes many minutes: long trials that make test runs only a few of.
test-slow: $(DEV)/.ready
	$(DEV)/bin/pytest -m slow $(LONG)

# 10,000 cases against a running service; `make test` runs a few hundred.
fuzz: $(DEV)/.ready
	BRAINMVP_FUZZ_CASES=10000 $(DEV)/bin/pytest tests/fuzz $(LONG)

# A thousand mutated headers of real series, read, and a thousand written; needs ../shared/dicom.
mutants: $(DEV)/.ready
	BRAINMVP_MUTANTS=143 $(DEV)/bin/pytest tests/server/imaging/dicom/test_mutated.py $(LONG)
	BRAINMVP_MUTANTS=334 $(DEV)/bin/pytest tests/server/results/dicom/test_mutations.py $(LONG)

check: $(DEV)/.ready
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

# Build the image and run the demo in it; as root, with Debian's buildah and debootstrap.
container-test:
	tests/container/run.sh

# What the image IMAGE is made of, in build/sbom/IMAGE, without building it: its packages are installed
# from its lock file as the build does it. Debian's are in the list that the build makes.
IMAGE ?= cpu
sbom: $(DEV)/.ready
	$(PYTHON) -m venv --clear build/sbom/venv
	build/sbom/venv/bin/pip install --quiet --require-hashes -r locks/$(IMAGE).txt
	build/sbom/venv/bin/pip install --quiet --no-deps .
	build/sbom/venv/bin/pip uninstall --quiet --yes pip setuptools
	$(DEV)/bin/python containers/sbom.py --image $(IMAGE) --packages build/sbom/venv \
	  --lock locks/$(IMAGE).txt --out build/sbom/$(IMAGE)

# The page at /, from server/page into the package; needs Node 20 or later. What is built is
# committed, and a test holds it against its source. Its types come from the service.
page: $(DEV)/.ready
	$(DEV)/bin/python server/page/generate.py
	cd server/page && npm ci && npm run build

docs: $(DEV)/.ready
	$(DEV)/bin/python docs/generate.py
	$(DEV)/bin/python helm/generate.py

# The pictures of the page, a report, a preview and, beside ../shared, a real patient in docs/; needs
# Debian's chromium.
pictures: $(DEV)/.ready
	$(DEV)/bin/python docs/pictures.py

# The documentation as a site, in build/site; every link is checked.
site: $(DEV)/.ready
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs build --quiet

# What the images are made of, anew: the newest packages that fit.
lock: $(DEV)/.ready
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" locks/lock.sh

format: $(DEV)/.ready
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

# Hours on two cores; what an earlier call made is used.
demo-models: $(DEV)/.ready
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" sh examples/demo_models.sh runs/demo

# Workers killed twenty times.
faults: $(DEV)/.ready
	BRAINMVP_FAULT_TRIALS=20 $(DEV)/bin/pytest tests/server/faults -k killed_at_any $(LONG)

# A quarter of an hour of load from 32 clients.
load: $(DEV)/.ready
	$(DEV)/bin/python benchmarks/load.py

bench: $(DEV)/.ready
	$(DEV)/bin/python benchmarks/study.py

$(DEMO)/.ready: pyproject.toml locks/dev.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet -c locks/dev.txt -e '.[server,cpu]'
	touch $@

# torch is named here so that one release is tested; on Linux, its CPU build is much smaller.
$(DEV)/.ready: pyproject.toml locks/dev.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet -c locks/dev.txt 'torch==2.13.0' -e '.[dev,cpu]'
	$(DEV)/bin/pip install --quiet --no-deps 'monailabel==0.8.5'  # its client alone, without its servers
	touch $@

clean:
	rm -rf $(DEMO) $(DEV) demo-output build *.egg-info .mypy_cache .pytest_cache .ruff_cache
