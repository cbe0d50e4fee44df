# Two commands matter: `make test` runs everything, `cargo run --release -- demo` shows the main job.

.PHONY: test check rust sdk interop demo fmt deny fuzz

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

# Feeds made-up bytes to every parser of bytes from outside, one after the other, so long each. Needs cargo-fuzz and a
# nightly compiler, and is no part of `make test`: see fuzz/README.md.
FUZZ_SECONDS ?= 600
fuzz:
	cargo +nightly fuzz build
	@for target in $$(cargo +nightly fuzz list); do \
		echo "== $$target, $(FUZZ_SECONDS) s"; mkdir -p fuzz/found/$$target; \
		cargo +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=20000 -rss_limit_mb=2048 -timeout=20 || exit 1; \
	done
