# The commands of this project. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help run test fmt lint bench bench-feeds docs tools web

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Everything in one process, on http://127.0.0.1:8080/
	cargo run --locked

test: tools ## What must pass before a change goes in
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo test --locked
	$(MAKE) web

web: tools ## Checks and tests the client library and the demo
	cargo build --locked
	cd web-demo && npm ci && npm test

fmt: ## Formats the sources
	cargo fmt

lint: ## What the compiler and clippy have to say
	cargo clippy --all-targets --locked -- -D warnings

bench: ## Measures the core; docs/performance.md says how to read it
	cargo bench --locked --bench core

bench-feeds: ## Measures 10,000 feeds on a redis-server of its own
	cargo bench --locked --bench feeds

docs: ## Builds the reference, target/doc/edgeway/index.html
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

tools: ## Installs what the tests need beside cargo and node, if it is missing
	@tests/install.sh
