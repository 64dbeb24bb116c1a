# The commands of this project. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help run test fmt lint bench bench-peers bench-feeds docs fuzz autobahn soak soak-simulation supply-chain tools web

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Everything in one process, on http://127.0.0.1:8080/
	cargo run --locked

test: tools ## What must pass before a change goes in
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	$(MAKE) docs
	cargo test --locked
	$(MAKE) web

web: tools ## Checks and tests the client library and the demo
	cargo build --locked
	cd web-demo && npm ci && npm test

fmt: ## Formats the sources
	cargo fmt

lint: ## What the compiler and clippy have to say
	cargo clippy --all-targets --locked -- -D warnings

bench: ## Measures the gateway beside a floor; docs/performance.md says how to read it
	cargo bench --locked --bench edgeway-bench -- --json target/edgeway-bench.json

bench-peers: ## Fetches Nchan and Socket.IO, and measures them beside the floor; Centrifugo, too, if it is there
	benches/edgeway_bench/peers/install.sh
	cargo bench --locked --bench edgeway-bench -- --only peers

bench-feeds: ## Measures 10,000 feeds on a redis-server of its own
	cargo bench --locked --bench feeds

autobahn: ## Autobahn's WebSocket cases against the codec; needs Python 2.7, takes a quarter of an hour
	tests/autobahn/install.sh
	cargo test --locked --test autobahn -- --nocapture

soak: ## Mixed traffic at two real nodes, SECONDS long (600); then nothing of it may be left
	EDGEWAY_SOAK_SECONDS=$(or $(SECONDS),600) \
		cargo test --locked --test soak when_the_clients_have_gone -- --nocapture

soak-simulation: ## Simulates whole nodes with ever new seeds, SECONDS long (3600)
	EDGEWAY_SIM_SECONDS=$(or $(SECONDS),3600) EDGEWAY_SIM_FIRST=$$(date +%s) \
		cargo test --locked --test simulation run_after_run -- --nocapture

fuzz: ## Fuzzes each target SECONDS long (300), with a nightly compiler or without; installs cargo-fuzz
	tests/fuzz/run.sh $(or $(SECONDS),300) $(TARGETS)

supply-chain: ## Licences, duplicates, advisories, unused crates, a bill of materials; installs its tools
	tests/supply_chain.sh

docs: ## Builds the reference, target/doc/edgeway/index.html
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

tools: ## Installs what the tests need beside cargo and node, if it is missing
	@tests/install.sh
