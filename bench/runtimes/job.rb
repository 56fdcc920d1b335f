# SPDX-License-Identifier: MIT
# Ruby: short strings (in the object), long ones (malloc), hashes with arrays. job.rb short|long|hash|aged
# "aged" is short strings after four collections, as servers do before they fork: collections write to objects until
# they are old.
kind, aged = ARGV[0] == "aged" ? ["short", true] : [ARGV[0], false]
mib, forks, pause = (ENV["MB"] || 600).to_i, (ENV["FORKS"] || 5).to_i, (ENV["PAUSE"] || 0.1).to_f
MAKE = {
  "short" => [20_000, ->(i) { "item-%07d" % i }],
  "long" => [900, ->(i) { ("%09d." % i) * 100 }],
  "hash" => [2000, ->(i) { { "number" => i, name: "name of #{i}", list: [i, i + 1, i + 2, i + 3, i + 4] } }],
}.freeze
count, make = MAKE.fetch(kind)
count *= mib
data = Array.new(count, &make)
value = ->(x) { x.bytesize + x.getbyte(x.bytesize / 2) }
value = ->(x) { x["number"] + x[:name].bytesize + x[:list].last } if kind == "hash"
check = lambda do
  sum = 0
  0.step(count - 1, 31) { |i| sum = (sum * 33 + value[data[i]]) % 1_000_000_007 }
  sum
end
$stdout.sync = true
4.times { GC.start } if aged
forks.times do |round|
  pid = fork do
    (round...count).step(2000) { |i| data[i] = make[i + 1] }
    puts "child #{round} #{check[]}"
    exit!(round)
  end
  Process.wait(pid)
  raise "child ended with #{$?}" unless $?.exitstatus == round
  (round...count).step(1000) { |i| data[i] = make[i + round] }
  puts "parent #{round} #{check[]}"
  sleep pause
end
GC.start
puts "end #{check[]}"
