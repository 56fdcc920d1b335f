;;; grow.el --- Emacs as it is: for emacs -Q --batch -l  -*- lexical-binding: t -*-
;; SPDX-License-Identifier: MIT
;; A hash table of lists, strings and vectors, of which each round replaces some; some 230 MiB are held and are walked
;; by each collection of garbage. It never forks.
;; Turns (turns.h) of N thousands of objects.

(defconst grow-kept 400000)
(defvar grow-table (make-hash-table :size grow-kept))
(defvar grow-next 1)

(defun grow-object (number)
  (puthash (% number grow-kept)
           (list (number-to-string (* number 7919)) (make-vector 6 number) (make-list 8 number) (make-string 48 ?x))
           grow-table))

(dotimes (number grow-kept)
  (grow-object number))

;; Standard output is not flushed by itself. The end of the input is an error.
(while (let ((line (ignore-errors (read-string ""))))
         (when (and line (string-match "\\`go \\([0-9]+\\)\\'" line))
           (let ((rounds (string-to-number (match-string 1 line)))
                 (start (float-time)))
             (dotimes (_ (* rounds 1000))
               (grow-object (% (* grow-next 7919) 100000007))
               (setq grow-next (1+ grow-next)))
             (write-region (format "rate %.1f\n" (/ (* rounds 1000) (- (float-time) start))) nil "/dev/stdout" t
                           'silent)
             t))))
