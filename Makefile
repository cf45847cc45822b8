# SPDX-License-Identifier: Apache-2.0
# A short front to tools/setup, meson and pytest. `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup build model run test bench sanitize fuzz fmt lint docs clean

python := build/venv/bin/python
models := build/models
photos := build/photos

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done

setup: ## install what is missing (root for Debian packages)
	@tools/setup run

build: setup ## build build/imago
	@[ -e build/build.ninja ] || meson setup build --buildtype debugoptimized > build/meson.log || { cat build/meson.log; exit 1; }
	@ninja -C build --quiet imago

model: $(models)/.done ## convert the default model into build/models
$(models)/.done: $(wildcard tools/model/*.py) $(photos)/scenes/.done
	@$(python) tools/model/convert.py $(models)
	@touch $@
$(photos)/scenes/.done: tools/photos/fetch.py | setup
	@$(python) tools/photos/fetch.py $(photos)/scenes
	@touch $@
$(photos)/set/.done: tools/photos/make_set.py $(photos)/scenes/.done
	@$(python) tools/photos/make_set.py $(photos)/scenes $(photos)/set --count 240 --seed 1
	@touch $@

run: build model ## build, start the server on 127.0.0.1:8080, print a line to try
	@tools/run

test: build model $(photos)/set/.done ## run every test
	@tools/setup test
	@tools/test

bench: build model $(photos)/set/.done ## measure against the floor and against other servers
	@bench/run

sanitize: build model $(photos)/set/.done ## the tests again under ASan and UBSan, then TSan
	@tools/setup ci
	@tools/sanitize

fuzz: build ## run every fuzz target for a minute (SECONDS_EACH=n)
	@tools/setup ci
	@tools/fuzz

fmt: ## format the C code
	@tools/setup ci
	@find src tests bench -name '*.[ch]' | xargs clang-format -i

lint: build ## formatting, layers, generated docs, clang-tidy
	@tools/setup ci
	@tools/lint

docs: build ## write the generated pages of docs/
	@tools/docs

clean: ## remove what was built, keep what was fetched
	@rm -rf build/imago build/build.ninja build/meson-* build/src build/tests build-*
