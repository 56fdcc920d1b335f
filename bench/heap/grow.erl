%% SPDX-License-Identifier: MIT
%% grow.erl, for escript: Erlang as it is. A table of tuples with lists and binaries, of which each round replaces some,
%% in a virtual machine that holds some 350 MiB. It never forks once it has started.
%% Turns (turns.h) of N thousands of objects.
-mode(compile).

-define(KEPT, 400000).

main(_) ->
    Table = ets:new(kept, [set]),
    fill(Table, ?KEPT),
    turns(Table, 1).

object(Number) ->
    {Number rem ?KEPT, lists:seq(Number, Number + 9), integer_to_list(Number * 7919), binary:copy(<<Number:64>>, 16)}.

fill(_, 0) -> ok;
fill(Table, Left) ->
    ets:insert(Table, object(Left)),
    fill(Table, Left - 1).

%% What is made is held until its thousand is there, so that the process's own heap grows and is collected.
thousand(Table, First) ->
    Made = [object((Number * 7919) rem 100000007) || Number <- lists:seq(First, First + 999)],
    ets:insert(Table, Made).

turns(Table, First) ->
    case io:get_line("") of
        "go " ++ Count ->
            Rounds = list_to_integer(string:trim(Count)),
            Start = erlang:monotonic_time(microsecond),
            [thousand(Table, First + Round * 1000) || Round <- lists:seq(0, Rounds - 1)],
            Spent = erlang:monotonic_time(microsecond) - Start,
            io:format("rate ~.1f~n", [Rounds * 1.0e9 / Spent]),
            turns(Table, First + Rounds * 1000);
        eof ->
            ok
    end.
