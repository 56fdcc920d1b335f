# SPDX-License-Identifier: MIT
# R: numbers in a matrix and vectors, or strings and lists; children by mclapply. job.R numbers|strings
library(parallel)
setting <- function(name, other) as.numeric(Sys.getenv(name, other))
kind <- commandArgs(TRUE)[1]
mib <- setting("MB", "600")
turns <- setting("FORKS", "5")
if (kind == "numbers") {
  large <- matrix(as.numeric(seq_len(mib * 65536) %% 1009), ncol = 256)
  small <- lapply(seq_len(mib * 8), function(i) i + as.numeric(1:8192))
  part <- function(k) sum(large[k, ]) + sum(vapply(small[seq(k, length(small), 2)], sum, 0))
  change <- function(turn) { large[turn + 1, ] <<- turn; small[[turn + 1]] <<- small[[turn + 1]] * 2 }
} else {
  count <- mib * 5500
  text <- paste0("the key ", seq_len(count))
  numbers <- lapply(seq_len(count / 5), function(i) c(i, i + 0.5))
  part <- function(k) sum(nchar(text[seq(k, count, 97)])) + sum(vapply(numbers[seq(k, length(numbers), 97)], sum, 0))
  change <- function(turn) { text[turn + 1] <<- "changed"; numbers[[turn + 1]] <<- c(turn, turn) }
}
for (turn in seq_len(turns) - 1) {
  found <- unlist(mclapply(1:2, part, mc.cores = 2))
  cat("children", turn, sprintf("%.1f", found), "\n")
  change(turn)
  cat("parent", turn, sprintf("%.1f", part(1) + part(2)), "\n")
  Sys.sleep(setting("PAUSE", "0.1"))
}
cat("end", sprintf("%.1f", part(1)), "\n")
