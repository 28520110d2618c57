// Command scale writes the configuration of a large installation, and of a
// small one, into SQLite databases that the real binary is then started on.
//
// It owns what "large" means: a million tokens, 100 000 people, 1 000 teams,
// 10 000 models in 100 accounts. It does not measure; bench/scale.sh (make
// bench-scale) calls it and measures.
package main
