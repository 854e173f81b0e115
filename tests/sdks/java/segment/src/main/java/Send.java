import com.google.gson.Gson;
import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.AliasMessage;
import com.segment.analytics.messages.GroupMessage;
import com.segment.analytics.messages.IdentifyMessage;
import com.segment.analytics.messages.Message;
import com.segment.analytics.messages.MessageBuilder;
import com.segment.analytics.messages.PageMessage;
import com.segment.analytics.messages.ScreenMessage;
import com.segment.analytics.messages.TrackMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** Sends with Segment's SDK for Java. Driver of tests/sdks/driver.py. */
public class Send {
  static class Call {
    String method, userId, previousId, groupId, event, name;
    Map<String, Object> properties, traits;
  }

  static class Given {
    String url, key;
    List<Call> calls;
  }

  static synchronized void say(Map<String, ?> line) {
    System.out.println(new Gson().toJson(line));
  }

  static MessageBuilder<?, ?> message(Call call) {
    switch (call.method) {
      case "track":
        return TrackMessage.builder(call.event).userId(call.userId).properties(call.properties);
      case "identify":
        return IdentifyMessage.builder().userId(call.userId).traits(call.traits);
      case "page":
        return PageMessage.builder(call.name).userId(call.userId).properties(call.properties);
      case "screen":
        return ScreenMessage.builder(call.name).userId(call.userId).properties(call.properties);
      case "group":
        return GroupMessage.builder(call.groupId).userId(call.userId).traits(call.traits);
      default:
        return AliasMessage.builder(call.previousId).userId(call.userId);
    }
  }

  public static void main(String[] arguments) throws Exception {
    var stdin = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    Given given = new Gson().fromJson(stdin.readLine(), Given.class);
    var told = new CountDownLatch(given.calls.size());
    Analytics analytics =
        Analytics.builder(given.key)
            .endpoint(given.url)
            .callback(
                new Callback() {
                  @Override
                  public void success(Message message) {
                    told.countDown();
                  }

                  @Override
                  public void failure(Message message, Throwable error) {
                    say(Map.of("said", "error", "reason", String.valueOf(error)));
                    told.countDown();
                  }
                })
            .build();
    say(Map.of("said", "ready"));
    stdin.readLine();
    for (Call call : given.calls) {
      analytics.enqueue(message(call));
    }
    analytics.flush();
    told.await();
    analytics.shutdown();
    say(Map.of("said", "closed"));
    System.exit(0);
  }
}
