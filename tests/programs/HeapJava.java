// SPDX-License-Identifier: MIT
//
// java HeapJava.java MIB: a JVM that holds that much in its own heap, and half as much outside it, starts programs
// while its threads allocate and its collector runs. What is printed must be the same whatever the memory is in.
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

public class HeapJava {
	static final Map<Integer, byte[]> kept = new HashMap<>();
	static final List<ByteBuffer> outside = new ArrayList<>();

	static byte[] block(int number, int length) {
		byte[] bytes = new byte[length];
		new Random(number).nextBytes(bytes);
		return bytes;
	}

	static long sum() {
		long sum = 0;
		for (int number = 0; number < kept.size(); number++) {
			byte[] bytes = kept.get(number);
			for (int i = 0; i < bytes.length; i += 61)
				sum = sum * 31 + bytes[i];
		}
		for (ByteBuffer buffer : outside)
			for (int i = 0; i < buffer.capacity(); i += 997)
				sum = sum * 31 + buffer.get(i);
		return sum;
	}

	static String run(String input, String... command) throws Exception {
		Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
		try (var to = process.getOutputStream()) {
			to.write(input.getBytes());
		}
		var output = new ByteArrayOutputStream();
		process.getInputStream().transferTo(output);
		if (!process.waitFor(300, TimeUnit.SECONDS))
			throw new IllegalStateException("does not end");
		return process.exitValue() + " " + output.toString().trim();
	}

	public static void main(String[] arguments) throws Exception {
		int mib = Integer.parseInt(arguments[0]);
		for (int number = 0; (long) number * 5000 < (long) mib << 20; number++)
			kept.put(number, block(number, 100 + number * 7919 % 9800));
		for (int number = 0; number < mib / 2; number++) {
			ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
			buffer.put(block(-1 - number, 1 << 20));
			outside.add(buffer);
		}
		System.out.println("sum " + sum());

		AtomicBoolean stop = new AtomicBoolean();
		AtomicLong wrong = new AtomicLong(), collected = new AtomicLong();
		List<Thread> threads = new ArrayList<>();
		for (int thread = 0; thread < 3; thread++) {
			int seed = thread;
			Thread each = new Thread(() -> {
				Random random = new Random(seed);
				byte[][] own = new byte[200][];
				while (!stop.get()) {
					int n = random.nextInt(own.length);
					int length = 1 + random.nextInt(random.nextInt(50) == 0 ? 1000000 : 20000);
					byte[] was = own[n];
					if (was != null && (was[0] != (byte) n || was[was.length - 1] != (byte) n
							|| was[was.length / 2] != (byte) n))
						wrong.incrementAndGet();
					own[n] = new byte[length];
					java.util.Arrays.fill(own[n], (byte) n);
					if (collected.incrementAndGet() % 50 == 0)
						try {
							Thread.sleep(1);
						} catch (InterruptedException e) {
							return;
						}
				}
			});
			each.start();
			threads.add(each);
		}
		for (int number = 0; number < 12; number++)
			System.out.println(run("text " + number,
					"sh", "-c", "cat; (echo; echo $((" + number + " * 3))); exit " + number));
		try {
			run("", "./no-such-program");
		} catch (java.io.IOException e) {
			System.out.println(e.getMessage().contains("error=2") ? "no such program" : e.getMessage());
		}
		System.gc();
		for (int number = 0; number < 6; number++)
			System.out.println(run("x".repeat(200000),
					"sh", "-c", "wc -c; kill -9 $$").replaceAll("\\s+", " "));
		stop.set(true);
		for (Thread each : threads)
			each.join();
		System.out.println("wrong " + wrong.get());
		for (int number = 0; number < kept.size(); number++)
			if (!java.util.Arrays.equals(kept.get(number), block(number, 100 + number * 7919 % 9800)))
				System.out.println("block " + number + " is wrong");
		System.out.println("sum " + sum());
	}
}
