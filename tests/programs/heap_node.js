// SPDX-License-Identifier: MIT
//
// node --expose-gc heap_node.js MIB: a node that holds that much in buffers, and as much again in the objects of the
// language, makes processes in each of its ways while its threads allocate and its collector runs. Every process checks
// its data, and what is printed must be the same whatever the memory is in.
//
// With another first argument: what it executes of itself.
'use strict';
const assert = require('assert');
const processes = require('child_process');
const cluster = require('cluster');
const crypto = require('crypto');
const { once } = require('events');
const fs = require('fs');
const net = require('net');
const util = require('util');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const exec = util.promisify(processes.exec), execFile = util.promisify(processes.execFile);

const asText = (each) => typeof each === 'string' ? each : JSON.stringify(each);
const say = (...what) => fs.writeSync(1, what.map(asText).join(' ') + '\n');
const sha256 = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

// Bytes that only this number gives, in every page.
function block(number, length) {
	const words = new Uint32Array(length >> 2);
	let filled = Math.min(257, words.length);
	for (let i = 0, word = number * 2654435761 >>> 0; i < filled; i++)
		words[i] = word = Math.imul(word, 1664525) + 1013904223;
	for (; filled < words.length; filled *= 2)
		words.copyWithin(filled, 0, filled);
	for (let i = 0; i < words.length; i += 512)
		words[i] ^= i * 2654435761;
	return Buffer.from(words.buffer);
}
const lengthOf = (number) => 4 * (1000 + number * 7919 % 90000);
const textOf = (number) => `record ${number} of ${(number * 2654435761 >>> 0).toString(16)} `;

// Buffers of 4 to 364 KB, strings of more than 1 MiB that lie outside the collector's heap, memory of WebAssembly; and
// small objects.
class Data {
	constructor(mib) {
		this.blocks = [];
		for (let size = 0; size < mib << 20; size += this.blocks.at(-1).length)
			this.blocks.push(block(this.blocks.length, lengthOf(this.blocks.length)));
		this.strings = [];
		for (let number = 0; number < mib / 16; number++)
			this.strings.push(block(-1 - number, 3 << 19).toString('latin1'));
		this.memory = new WebAssembly.Memory({ initial: 4, maximum: 1024 });
		this.memory.grow(16 * Math.ceil(mib / 16));
		this.changed = 0;
		this.map = new Map();
		for (let number = 0; number < mib * 1000; number++)
			this.map.set(textOf(number), { number, list: [number, -number], text: textOf(number + 1) });
		new Uint8Array(this.memory.buffer).set(this.blocks[3], 70000);
	}

	// As much as the parent changes between two forks.
	change(number) {
		for (let i = 0; i < this.blocks.length; i += 50)
			this.blocks[i][number] ^= 0xff;
		this.blocks[number] = block(number, lengthOf(number)); // and one is let go
		this.changed++;
	}

	check() {
		this.blocks.forEach((found, number) => {
			const right = block(number, lengthOf(number));
			// Each fiftieth was changed each time; the first was made anew after its first change.
			for (let i = number === 0 ? 1 : 0; number % 50 === 0 && i < this.changed; i++)
				right[i] ^= 0xff;
			assert(found.equals(right), `block ${number}`);
		});
		this.strings.forEach((found, number) =>
			assert(found === block(-1 - number, 3 << 19).toString('latin1'), `string ${number}`));
		const view = new Uint8Array(this.memory.buffer);
		const copied = Buffer.from(view.buffer, 70000, this.blocks[3].length);
		assert(copied.equals(block(3, lengthOf(3))) && view.at(-1) === 0, 'WebAssembly');
		for (let number = 0; number < this.map.size; number++) {
			const found = this.map.get(textOf(number));
			assert(found.number === number && found.list[1] === -number &&
				found.text === textOf(number + 1), `record ${number}`);
		}
	}
}

// A thread that allocates, checks and lets go, and passes what it has made on to the main thread.
async function thread({ stop, seed }) {
	const flag = new Int32Array(stop), own = [];
	let rounds = 0;
	for (; Atomics.load(flag, 0) === 0; rounds++) {
		const number = (seed * 31 + rounds * 7) % 47;
		if (own[number] !== undefined)
			assert(own[number].equals(block(number, lengthOf(number))), `block ${number} of a thread`);
		own[number] = block(number, lengthOf(number));
		if (rounds % 10 === 0) {
			const gift = block(seed, 100000);
			parentPort.postMessage(gift, [gift.buffer]);
		}
		if (rounds % 100 === 50)
			global.gc();
		await new Promise((resolve) => setTimeout(resolve, 4));
	}
	parentPort.postMessage(rounds > 0);
}

// Has much of its own, and makes processes as well: by the IPC channel.
function child() {
	const data = new Data(Number(process.argv[3]));
	process.on('message', ({ number, bytes, map }) => {
		const said = processes.spawnSync('cat', { input: Buffer.concat([bytes, bytes]) });
		data.check();
		process.send({ sum: sha256(said.stdout), map: map.get(number).toString(), status: said.status });
	});
	process.on('disconnect', () => process.exit(7));
}

// Of a cluster: what comes over a connection goes back twice.
function served() {
	const data = new Data(Number(process.argv[3]));
	let connections = 0;
	net.createServer({ allowHalfOpen: true }, (socket) => {
		const pieces = [];
		connections++;
		socket.on('data', (piece) => pieces.push(piece));
		socket.on('end', () => socket.end(Buffer.concat([...pieces, ...pieces])));
	}).listen('socket');
	process.on('message', () => {
		data.check();
		process.send({ connections, said: processes.execSync('echo from a worker').toString() });
	});
}

function output(child) {
	const pieces = [];
	child.stdout.on('data', (piece) => pieces.push(piece));
	return once(child, 'close').then(([code, signal]) => [code, signal, sha256(Buffer.concat(pieces))]);
}

async function spawns(data) {
	const cats = [];
	for (let number = 0; number < 6; number++) {
		const cat = processes.spawn('cat');
		cat.stdin.end(data.blocks[number * 3]);
		cats.push(output(cat));
	}
	for (const [number, result] of (await Promise.all(cats)).entries())
		assert.deepStrictEqual(result, [0, null, sha256(block(number * 3, lengthOf(number * 3)))]);
	say('six at once');
	const all = await Promise.allSettled([
		exec('echo out; echo err >&2; exit 3'), exec('pwd', { cwd: '/' }),
		execFile('sh', ['-c', 'echo $A "$@"', 'sh', 'a', 'b c'], { env: { A: 'set' } }),
		execFile('./no-such-program'), exec('kill -9 $$'), exec('exec sleep 100', { timeout: 20 }),
		execFile('true', { cwd: '/no-such-directory' })]);
	all.forEach(({ value, reason }) => say(value || [reason.code, reason.signal, reason.stdout, reason.stderr]));
	const detached = processes.spawn('sh', ['-c', 'cat <&3 >&4; exit 6'],
		{ detached: true, stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'] });
	detached.stdio[3].end('by other descriptors');
	const [[text], [code]] = await Promise.all([once(detached.stdio[4], 'data'), once(detached, 'close')]);
	say(text.toString(), code);
}

function sync(data) {
	for (let number = 0; number < 12; number++) {
		const { status, stdout } = processes.spawnSync('sh', ['-c', `cat; exit ${number}`],
			{ input: data.blocks[number + 1] });
		assert(status === number && stdout.equals(data.blocks[number + 1]), `spawnSync ${number}`);
		data.change(number);
		if (number % 6 === 5)
			global.gc();
	}
	const large = processes.spawnSync('cat', { input: data.strings[0], encoding: 'latin1', maxBuffer: 1 << 26 });
	assert(large.stdout === data.strings[0]);
	say(processes.execSync('echo; wc -c', { input: Buffer.alloc(12345) }).toString().trim(),
		processes.execFileSync('echo', ['-n', 'x']).toString());
	say(processes.spawnSync('./no-such-program').error.code,
		processes.spawnSync('sh', ['-c', 'kill -9 $$']).signal);
}

async function forks(own) {
	const forked = processes.fork(__filename, ['child', own], { serialization: 'advanced' });
	for (let number = 0; number < 3; number++) {
		forked.send({ number, bytes: block(number, 200000), map: new Map([[number, BigInt(number) ** 70n]]) });
		const [answer] = await once(forked, 'message');
		assert(answer.sum === sha256(Buffer.concat([block(number, 200000), block(number, 200000)])));
		say(answer.map, answer.status);
	}
	forked.disconnect();
	say('it ended with', (await once(forked, 'exit'))[0]);
}

async function clusters(data, own) {
	const start = async () => {
		const worker = cluster.fork();
		await once(worker, 'listening');
		return worker;
	};
	const connect = async (number) => {
		const socket = net.connect('socket'), pieces = [];
		socket.on('data', (piece) => pieces.push(piece));
		socket.end(data.blocks[number]);
		await once(socket, 'close');
		const twice = Buffer.concat([data.blocks[number], data.blocks[number]]);
		assert(Buffer.concat(pieces).equals(twice), `connection ${number}`);
	};
	const ask = async (worker) => {
		worker.send('how many?');
		return (await once(worker, 'message'))[0];
	};
	cluster.setupPrimary({ exec: __filename, args: ['served', own] });
	const [first, second] = await Promise.all([start(), start()]);
	for (let number = 0; number < 8; number++)
		await connect(number);
	await Promise.all([8, 9, 10, 11].map(connect));
	const answers = await Promise.all([ask(first), ask(second)]);
	say(answers.map(({ said }) => said), answers[0].connections + answers[1].connections);
	first.process.kill('SIGKILL');
	say('killed', (await once(first, 'exit'))[1]);
	const third = await start();
	await Promise.all([12, 13, 14, 15].map(connect));
	say((await ask(third)).said);
	const ends = [second, third].map((worker) => once(worker, 'exit'));
	cluster.disconnect();
	say('disconnected', await Promise.all(ends));
}

async function main(mib) {
	const data = new Data(mib), own = String(mib);
	data.check();
	say(data.blocks.length, 'blocks', data.map.size, 'records');

	const stop = new SharedArrayBuffer(4), ends = [];
	let gifts = 0;
	for (let seed = 0; seed < 2; seed++) {
		const worker = new Worker(__filename, { workerData: { stop, seed } });
		worker.on('error', (error) => say('a thread failed:', error.message));
		ends.push(new Promise((resolve) => worker.on('message', (message) => {
			if (typeof message === 'boolean')
				return resolve(message);
			assert(Buffer.from(message.buffer).equals(block(seed, 100000)), 'what a thread gave');
			gifts++;
		})));
	}
	await spawns(data);
	sync(data);
	await forks(own);
	global.gc();
	await clusters(data, own);
	Atomics.store(new Int32Array(stop), 0, 1);
	say('threads', await Promise.all(ends), gifts > 0);
	data.check();
	say('at the end', sha256(Buffer.concat(data.blocks)));
	process.exit(0); // with all that it holds
}

if (!isMainThread)
	thread(workerData);
else if (process.argv[2] === 'child')
	child();
else if (process.argv[2] === 'served')
	served();
else
	main(Number(process.argv[2]));
