# The commands of this project. `make help` lists them.

SCRIPTS := $(wildcard web-demo/*.js)

.DEFAULT_GOAL := help
.PHONY: help run test fmt lint bench docs tools

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Everything in one process, on http://127.0.0.1:8080/
	cargo run --locked

test: tools ## What must pass before a change goes in
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	@for script in $(SCRIPTS); do \
		node --input-type=module --check < $$script || { echo "$$script does not parse" >&2; exit 1; }; \
	done
	cargo test --locked

fmt: ## Formats the sources
	cargo fmt

lint: ## What the compiler and clippy have to say
	cargo clippy --all-targets --locked -- -D warnings

bench: ## Measures the core; docs/performance.md says how to read it
	cargo bench --locked --bench core

docs: ## Builds the reference, target/doc/edgeway/index.html
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

tools: ## Installs what the tests need beside cargo and node, if it is missing
	@tests/install.sh
