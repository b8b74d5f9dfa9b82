// Runs the table of cases through the AWS SDK for JavaScript v3: settings and cases come in
// on stdin, what the SDK made of them goes out on stdout, both as JSON.
import * as runtime from "@aws-sdk/client-sagemaker-runtime";
import { text } from "node:stream/consumers";

const { settings, cases } = JSON.parse(await text(process.stdin));
const client = new runtime.SageMakerRuntimeClient({ ...settings, maxAttempts: 1 });
const decoder = new TextDecoder();

const strings = (output) =>
  Object.fromEntries(Object.entries(output).filter(([, value]) => typeof value === "string"));

async function run({ operation, input }) {
  let facts = {};
  try {
    const Command = runtime[`${operation}Command`];
    const output = await client.send(new Command(input));
    facts = { ...strings(output), status: output.$metadata.httpStatusCode };
    if (operation === "InvokeEndpoint") {
      facts.Body = decoder.decode(output.Body ?? undefined); // null stands for an empty one
    } else if (operation === "InvokeEndpointWithResponseStream") {
      facts.Body = "";
      for await (const event of output.Body) {
        facts.Body += decoder.decode(event.PayloadPart.Bytes);
      }
    }
  } catch (error) {
    Object.assign(facts, {
      code: error.name,
      message: error.message,
      // Behind a stream's head an error has no status of its own.
      status: facts.status ?? error.$metadata?.httpStatusCode,
      OriginalStatusCode: error.OriginalStatusCode,
      OriginalMessage: error.OriginalMessage,
      LogStreamArn: error.LogStreamArn,
      // It passes on what the service's model has no member for, as a ModelError's.
      ErrorCode: error.name === "ModelStreamError" ? error.ErrorCode : undefined,
    });
  }
  return facts;
}

const results = [];
for (const each of cases) {
  results.push(await run(each));
}
process.stdout.write(JSON.stringify(results));
