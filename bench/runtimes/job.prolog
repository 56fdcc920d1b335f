% SPDX-License-Identifier: MIT
% SWI-Prolog: facts in the data base, atoms, terms on the stack of the global variables.
:- use_module(library(unix)).
:- dynamic fact/3.

setting(Name, Default, Value) :- ( getenv(Name, Text) -> atom_number(Text, Value) ; Value = Default ).

put(I, N) :- atom_concat('the value of ', N, Atom), assertz(fact(I, N, Atom)).

change(Start, Step, Count) :-
    forall(( Last is (Count - 1 - Start) // Step, between(0, Last, K) ),
           ( I is Start + K * Step, retractall(fact(I, _, _)), N is I + Start + Step, put(I, N) )).

check(Count, Sum) :-
    State = sum(0), Last is (Count - 1) // 31,
    forall(between(0, Last, K),
           ( I is K * 31, fact(I, N, Atom), atom_length(Atom, Length), arg(1, State, Old),
             New is (Old * 33 + N + Length) mod 1000000007, nb_setarg(1, State, New) )),
    arg(1, State, Sum).

turn(Forks, Forks, _, _) :- !.
turn(Turn, Forks, Count, Pause) :-
    fork(Pid),
    (   Pid == child
    ->  change(Turn, 2000, Count), check(Count, Of), format("child ~w ~w~n", [Turn, Of]), flush_output,
        halt(Turn)
    ;   wait(Pid, Status), ( Status == exited(Turn) -> true ; throw(child_ended(Status)) )
    ),
    change(Turn, 1000, Count), check(Count, Sum), format("parent ~w ~w~n", [Turn, Sum]), flush_output,
    sleep(Pause), Next is Turn + 1, turn(Next, Forks, Count, Pause).

main :-
    setting('MB', 600, Mib), setting('FORKS', 5, Forks), setting('PAUSE', 0.1, Pause), Count is Mib * 2600,
    forall(( Last is Count - 1, between(0, Last, I) ), put(I, I)),
    turn(0, Forks, Count, Pause), check(Count, Sum), format("end ~w~n", [Sum]).

:- initialization((catch(main, Error, (print_message(error, Error), halt(1))), halt)).
