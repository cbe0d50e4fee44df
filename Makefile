# Two commands matter: `make test` runs everything, `cargo run --release -- demo` shows the main job.

.PHONY: test check rust sdk interop demo fmt deny

# Everything. Installs what it needs, starts its own servers on free loopback ports, and says in
# its last lines what passed, what failed and what was skipped.
test:
	@./tests/run

# What a change should pass before it is committed.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

rust:
	cargo test --workspace --all-targets
	cargo test --workspace --doc

sdk:
	cargo build
	python3 tests/sdk/run.py

interop:
	python3 tests/interop/run.py

demo:
	cargo run --release -- demo

fmt:
	cargo fmt --all

# Licences, sources and bans of dependencies; needs cargo-deny.
deny:
	cargo deny check bans licenses sources
