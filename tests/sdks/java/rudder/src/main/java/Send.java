import com.google.gson.Gson;
import com.rudderstack.sdk.java.analytics.RudderAnalytics;
import com.rudderstack.sdk.java.analytics.Callback;
import com.rudderstack.sdk.java.analytics.messages.AliasMessage;
import com.rudderstack.sdk.java.analytics.messages.GroupMessage;
import com.rudderstack.sdk.java.analytics.messages.IdentifyMessage;
import com.rudderstack.sdk.java.analytics.messages.Message;
import com.rudderstack.sdk.java.analytics.messages.MessageBuilder;
import com.rudderstack.sdk.java.analytics.messages.PageMessage;
import com.rudderstack.sdk.java.analytics.messages.ScreenMessage;
import com.rudderstack.sdk.java.analytics.messages.TrackMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** Sends with RudderStack's SDK for Java. Driver of tests/sdks/driver.py. */
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
    RudderAnalytics analytics =
        RudderAnalytics.builder(given.key)
            .setDataPlaneUrl(given.url)
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
