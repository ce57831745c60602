#!/bin/bash -eu
# Builds every target with the flags of OSS-Fuzz, and packs its seeds and its dictionary beside it.
cd "$SRC/gatepost/fuzz"
cargo fuzz build --release --fuzz-dir . --features instrumented

built=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
for file in fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    cp "$built/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    zip --quiet --junk-paths "$OUT/${target}_seed_corpus.zip" "corpus/$target"/*
    dictionary=$(./campaign -d "$target")
    [ -z "$dictionary" ] || cp "dictionaries/$dictionary.dict" "$OUT/$target.dict"
done
