(* SPDX-License-Identifier: MIT
   OCaml: an array of pairs and strings. *)
let setting name default = try Sys.getenv name with Not_found -> default
let forks = int_of_string (setting "FORKS" "5")
let count = int_of_string (setting "MB" "600") * 15000
let data = Array.init count (fun i -> (i, "value of " ^ string_of_int i))

let check () =
  let sum = ref 0 in
  let add i (n, text) = if i mod 31 = 0 then sum := ((!sum * 33) + n + String.length text) mod 1_000_000_007 in
  Array.iteri add data;
  !sum

let change first step text =
  let i = ref first in
  while !i < count do
    data.(!i) <- (!i + first, text ^ string_of_int first);
    i := !i + step
  done

let () =
  for round = 0 to forks - 1 do
    (match Unix.fork () with
    | 0 ->
        change round 2000 "a child's ";
        Printf.printf "child %d %d\n%!" round (check ());
        Unix._exit round
    | pid ->
        let _, status = Unix.waitpid [] pid in
        assert (status = Unix.WEXITED round));
    change round 1000 "changed ";
    Printf.printf "parent %d %d\n%!" round (check ());
    Unix.sleepf (float_of_string (setting "PAUSE" "0.1"))
  done;
  Gc.compact ();
  Printf.printf "end %d\n" (check ())
