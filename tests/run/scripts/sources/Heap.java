import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

// Fills a map, makes garbage of copies of it, and prints what is left.
public class Heap {
  public static void main(String[] arguments) throws Exception {
    Map<Integer, String> words = new HashMap<>();
    for (int i = 0; i < 60_000; ++i) words.put((int) ((i * 7919L) % 65_537), "value " + i);
    long[] sums = new long[4];
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < sums.length; ++t) {
      final int mine = t;
      threads.add(new Thread(() -> {
        List<String> copy = new ArrayList<>();
        for (int i = mine; i < 65_537; i += 4) {
          String word = words.get(i);
          if (word != null) copy.add(word + mine);
        }
        copy.sort(null);
        long sum = 0;
        for (String word : copy) sum = sum * 31 + word.hashCode();
        sums[mine] = sum;
      }));
    }
    for (Thread each : threads) each.start();
    for (Thread each : threads) each.join();
    long all = 0;
    for (long each : sums) all = all * 31 + each;
    System.out.println(all + " " + words.size() + " " + words.get(7919) + " " + scan());
  }

  // Old and large objects, new and small ones.
  static long scan() {
    List<long[]> blocks = new ArrayList<>();
    for (int b = 0; b < 512; ++b) {
      long[] block = new long[30_000];
      for (int i = 0; i < block.length; ++i) block[i] = (b * 65_537L + i) * 0x9e3779b97f4a7c15L;
      blocks.add(block);
    }
    long sum = 0;
    for (int round = 0; round < 2; ++round) {
      for (long[] block : blocks) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < block.length; i += 64) text.append(block[i]);
        sum = sum * 31 + text.toString().hashCode();
      }
    }
    return sum;
  }
}
