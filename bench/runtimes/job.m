% SPDX-License-Identifier: MIT
% Octave: a matrix and cells of smaller ones.
function value = setting (name, other)
  value = str2double (getenv (name));
  if (isnan (value)) value = other; endif
endfunction
mib = setting ("MB", 600); forks = setting ("FORKS", 5);
large = reshape (mod (1:(mib / 2 * 131072), 1009), 256, []);
small = cell (1, mib * 8);
for i = 1:numel (small) small{i} = i + (1:8192); endfor
for turn = 0:forks - 1
  fflush (stdout);
  pid = fork ();
  if (pid == 0)
    large(turn + 1, :) = turn;
    printf ("child %d %.0f %.0f\n", turn, sum (large(:)), sum (cellfun (@(x) sum (x), small)));
    fflush (stdout);
    kill (getpid (), 9);
  endif
  [who, status] = waitpid (pid);
  if (status != 9) error ("the child ended with %d", status); endif
  large(turn + 1, :) = 2 * turn;
  small{turn + 1} = small{turn + 1} * 3;
  printf ("parent %d %.0f %.0f\n", turn, sum (large(:)), sum (cellfun (@(x) sum (x), small)));
  pause (setting ("PAUSE", 0.1));
endfor
printf ("end %.0f\n", sum (large(:)));
