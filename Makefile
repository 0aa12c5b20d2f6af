# Every command does its own set-up, from a fresh clone on. Needed: Python 3.11 or newer, make, git.
#   make run      start a server with the demo stream          make bench   measure this machine
#   make test     run every test                               make clean   remove what was made
#   make style    ruff    make types    mypy        make bench-aims, -full, -live   more of it
#   make docs     the documentation as a site      make reference   docs/reference/ from the code
#   make release  what is released, in dist/       make test-lowest, test-newest, test-sdist, -wheel, -s3,
#                                                  -integrations
# Another interpreter: make PYTHON=python3.13 run

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: run test test-newest test-lowest test-sdist test-wheel test-s3 test-integrations release style types docs reference bench bench-aims bench-full bench-live soak torture clean

run: $(VENV)/.installed
	$(BIN)/omendb-ws demo

# Side by side: tests wait for sockets and processes for half of the time that they take, and of
# two cores two workers use 60%.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses=3 --dist=worksteal

# Backups in a store that speaks S3 (moto's, on this machine); without its extra they are skipped.
test-s3: $(VENV)/.installed-test $(VENV)/.installed-s3-test
	$(BIN)/python -m pytest tests/cli/test_s3.py

# What is built on frameworks, by their own tests too. In an environment of its own: they bring plugins
# of pytest along.
test-integrations:
	$(MAKE) VENV=build/integrations build/integrations/.installed-test build/integrations/.installed-integration-test
	build/integrations/bin/python -m pytest tests/integrations

# Of all that is allowed, what an install takes now; TESTS names some only.
TESTS ?= tests
test-newest: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(TESTS)

# The oldest of each dependency that pyproject.toml allows and that has a wheel for this Python.
test-lowest: build/lowest.txt
	PIP_CONSTRAINT=$(CURDIR)/build/lowest.txt $(MAKE) VENV=build/lowest TESTS="$(TESTS)" test-newest

build/lowest.txt: pyproject.toml $(VENV)/.installed-release
	@mkdir -p build
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --only-binary :all: --python $(BIN)/python \
		--extra http --extra jwt --extra otel --extra arrow --output-file $@ pyproject.toml

# In dist/: an sdist, a wheel for this machine, and what is in it and comes with it (CycloneDX).
release: $(VENV)/.installed-release
	rm -rf dist build/release
	OMENDB_REQUIRE_NATIVE=1 $(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*.tar.gz dist/*.whl
	$(BIN)/abi3audit --strict dist/*.whl
	$(BIN)/python -m venv --without-pip build/release
	$(BIN)/python -m pip --python build/release/bin/python install -qq --disable-pip-version-check "$$(ls dist/*.whl)[http,jwt,otel,arrow]"
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file "$$(ls dist/*.tar.gz | sed s/.tar.gz/.cdx.json/)" build/release

# The sdist, unpacked, installed into an environment of its own, and its tests run there.
test-sdist: release
	rm -rf build/sdist && mkdir -p build/sdist
	tar --extract --gzip --strip-components=1 --directory=build/sdist --file="$$(ls dist/*.tar.gz)"
	OMENDB_REQUIRE_NATIVE=1 $(MAKE) -C build/sdist TESTS="tests/core tests/wire tests/project" test-newest

# The wheel in environments of its own: those of each Python that is named, by the commands of cibuildwheel.
PYTHONS ?= $(PYTHON)
test-wheel: release
	$(BIN)/python -m tests.project.try_wheel dist/*.whl $(PYTHONS)

style: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-lint
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean
	@echo "The site is in build/docs/: open build/docs/index.html"

reference: $(VENV)/.installed
	$(BIN)/python -m docs.tools.reference

bench: $(VENV)/.installed-load
	$(BIN)/python -m load_tests.simulation.short
	$(BIN)/python -m load_tests.guard

# What is wanted and what is, each figure beside others of the same run; some twelve minutes.
bench-aims: $(VENV)/.installed-load
	$(BIN)/python -m load_tests.aims --output build/load/aims.json

# Some fifteen minutes, ten of them the soak. Figures, pages and pictures are in build/load/.
SCENARIOS := ingest search shaped filtered mixed live fanout storm slow_readers overload soak
bench-full: $(VENV)/.installed-load
	$(BIN)/python -m load_tests.simulation run $(SCENARIOS) --output build/load/
	$(BIN)/python -m load_tests.simulation sweep search --output build/load/sweep.json
	for result in build/load/*.json; do $(BIN)/python -m load_tests.report $$result || exit 1; done

# Half an hour of churn: does the server hold on to what is gone?
soak: $(VENV)/.installed-load
	$(BIN)/python -m load_tests.churn --minutes 30

SHAPED := $(addprefix tests/,core/search/test_shaped_hard_data.py core/search/test_shaped_state_machine.py \
	core/standing/test_oracle_state_machine.py server/engine/test_shaped_state_machine.py server/streams/test_shaped_live_law.py \
	server/access/test_grants_state_machine.py)
# What `make test` does in a bounded size: killed servers, lost power, broken disks, odd searches,
# grants, odd bytes for whatever reads any (FUZZ_SECONDS, divided among the targets).
FUZZ_SECONDS ?= 1200
# Stacks are not written after 280 s here: tests take longer, and to write them while others run may end the process.
LONG := $(BIN)/python -m pytest -o faulthandler_timeout=0
torture: $(VENV)/.installed-test $(VENV)/.installed-fuzz test-s3 test-integrations
	$(BIN)/python -m tests.torture.kill --rounds 500
	EXAMPLES=all $(LONG) --timeout 3600 -m hypothesis
	EXAMPLES=all $(LONG) --timeout 3600 tests/core/native/test_native_builds.py tests/load_tests/test_guard.py
	JOURNAL_SEEDS=10000 $(LONG) tests/journal
	CLUSTER_ROUNDS=200 CLUSTER_NODE_ROUNDS=400 CLUSTER_SERVER_ROUNDS=100 \
		$(LONG) --timeout 7200 tests/server/cluster/test_rounds.py
	SHARD_WALKS=200 SHARD_LIVE_RUNS=500 \
		$(LONG) --timeout 3600 tests/server/sharding/test_walk.py tests/server/sharding/test_live_law.py
	GRANTS_WALK=all $(LONG) --timeout 1200 tests/server/access/test_grants_walk.py
	FAULT_WALK=all $(LONG) tests/server/engine/test_fault_walk.py tests/server/cluster/test_fault_walk.py \
		tests/server/cluster/test_lost_messages.py
	SHAPED_RUNS=50 $(LONG) --timeout 7200 $(SHAPED)
	FILE_MUTATIONS=20000 $(LONG) --timeout 3000 tests/files/test_mutations.py
	$(BIN)/python -m tests.fuzz --runs 4000 journal_files
	$(BIN)/python -m tests.fuzz --guided --seconds $(FUZZ_SECONDS)
	DIFFERENTIAL_STREAMS=100000 $(LONG) --timeout 3600 tests/server/net/test_differential.py
	IDLE_CONNECTIONS=10000 $(LONG) -s tests/server/net/test_idle.py tests/server/http/api/test_idle_streams.py
	$(BIN)/python -m load_tests.neighbours
	OVERLOAD_RUNS=2000 OVERLOAD_ORDERS=100 $(LONG) --timeout 3600 tests/server/sessions/test_overload.py
	EVENT_CUTS=300 EVENT_STREAMS=9000 $(LONG) --timeout 1200 tests/server/http/api
	HTTP_OFFERS=3000 $(LONG) tests/server/http/api/test_offers.py
	OVER_HTTP=1 $(LONG) tests/client/common -k http
	HTTP_EXAMPLES=300 $(LONG) --timeout 3600 tests/server/http/api/test_document.py
	$(BIN)/python -m tests.torture.generated_clients
	SDIST_TESTS="tests/core tests/wire tests/project" $(LONG) --timeout 1800 tests/project/test_sdist.py
	WINDOWS_BUILD=1 $(LONG) tests/core/native/test_windows_builds.py
	AFTERNOON=1 $(LONG) --timeout 900 tests/deploy/test_afternoon.py
	$(BIN)/python -m tests.torture.typed_client
	RESIDENT_MEMORY=large $(LONG) tests/server/node/test_resident_memory.py

bench-live: $(VENV)/.installed-load
	$(BIN)/python -m load_tests.bench_standing
	$(BIN)/python -m load_tests.simulation run live
	$(BIN)/python -m load_tests.simulation run live --set vectors.source=clustered --set vectors.clusters=200

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f core/omendb_core/native/_native.*.so

# Installing is done again when one of these has changed, and only then: the install is editable.
INSTALLED_FROM := pyproject.toml setup.py $(wildcard core/omendb_core/native/*.[ch])

$(VENV)/.installed: $(INSTALLED_FROM) $(BIN)/python
	@echo "Installing into $(VENV) (once; a minute or so) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-%: $(INSTALLED_FROM) $(BIN)/python
	@echo "Installing into $(VENV), with what '$*' needs ..."
	@$(INSTALL) --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not there. OmenDB-WS needs Python 3.11 or newer; name yours: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "OmenDB-WS needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.13 ..." % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)." >&2; exit 1; }
