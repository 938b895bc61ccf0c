# The commands of this project; `make help` lists them. The work is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help demo test test-guests test-desktop test-leaks lint build bench bench-shares bench-memory bench-start bench-snapshots bench-screen bench-old-world bench-migration bench-network bench-jail soak stress clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

demo: ## Set everything up, build, boot Debian and run a command in it
	@scripts/demo

test: ## Set everything up, run the linters and all tests
	@scripts/test

test-guests: ## Boot every kernel that the tests know, also those that take minutes
	@scripts/setup
	@scripts/setup-desktop
	@scripts/build
	@.venv/bin/python -m pytest -q --durations=20 --all-guests tests/boot

test-desktop: ## Drive a graphical Debian in a headless browser; its pictures are left in build/desktop
	@scripts/setup
	@scripts/setup-desktop
	@scripts/build
	@.venv/bin/python -m pytest -q --all-guests tests/boot/test_desktop.py

test-leaks: ## Start, use and stop guests a hundred times, and look what they leave; CYCLES= for another number
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m pytest -q --cycles $(or $(CYCLES),100) -k leak tests/run/test_detached.py \
		tests/boot/test_detached.py

lint: ## Run the linters alone
	@scripts/setup
	@scripts/build
	@scripts/lint

build: ## Build and install into .venv
	@scripts/setup
	@scripts/build

bench: ## Measure, and write docs/reference/benchmarks.md; ONLY=int,fp,disk for a part, ENGINES= ROUNDS=
	@scripts/setup
	@scripts/setup-bench
	@scripts/build
	@.venv/bin/python -m benches $(if $(ONLY),--only $(ONLY)) $(if $(ENGINES),--engines $(ENGINES)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

bench-shares: ## Measure what guests get of the host, and write docs/reference/shares.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.shares

bench-memory: ## Measure how soon freed memory is the host's again, and write docs/reference/memory.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.memory

bench-start: ## Measure what starting a guest takes, and write docs/reference/start.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.start

bench-snapshots: ## Measure what snapshots and forks take, and write docs/reference/snapshots-measured.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.snapshots

bench-screen: ## Measure what viewers of a screen take, and write docs/reference/screen-measured.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.screen

bench-old-world: ## Measure how fast old systems draw and read, and write docs/reference/old-world.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.old_world

bench-migration: ## Measure what moving a guest takes, and write docs/reference/migration-measured.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.migration

bench-network: ## Measure how fast a guest's own network is, and write docs/reference/network-measured.md
	@scripts/setup
	@scripts/setup-bench
	@scripts/build
	@.venv/bin/python -m benches.network

bench-jail: ## Play code that has come out of its guest, and write what it could do to docs/reference/jail.md
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.jail

soak: ## Save, fork, restore, back up and move a guest that checks itself, at random; MINUTES= or HOURS= for how long, SEED=
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.soak --minutes $(or $(MINUTES),$(if $(HOURS),$(shell expr $(HOURS) \* 60)),15) \
		$(if $(SEED),--seed $(SEED))

stress: ## Compile and compute in a guest of two processors, and compare; MINUTES= for how long, ENGINE=
	@scripts/setup
	@scripts/build
	@.venv/bin/python -m benches.stress --minutes $(or $(MINUTES),60) $(if $(ENGINE),--engine $(ENGINE))

clean: ## Remove what was built here; images stay, see inn image rm
	rm -rf target build .venv
