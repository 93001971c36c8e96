// Asks a service as a program with Hugging Face's JavaScript client does.
import { InferenceClient } from "@huggingface/inference";

const [, , url] = process.argv;
const client = new InferenceClient("no-token");
const at = (task) => ({ endpointUrl: `${url}/${task}` });
const inputs = "The capital of France is";
const parameters = { max_new_tokens: 5 };

const labels = await client.textClassification({ ...at("text-classification"), inputs: "fine" });
const masks = await client.fillMask({ ...at("fill-mask"), inputs: "Paris is the capital of [MASK]." });
const vectors = await client.featureExtraction({ ...at("feature-extraction"), inputs: ["a cat"] });
const similarity = await client.sentenceSimilarity({
  ...at("sentence-similarity"),
  inputs: { source_sentence: "a cat", sentences: ["a kitten", "a train"] },
});
const continued = await client.textGeneration({ ...at("text-generation"), inputs, parameters });
const pieces = [];
const stream = client.textGenerationStream({ ...at("text-generation"), inputs, parameters });
for await (const chunk of stream) pieces.push(chunk.choices[0].text);
let error = "";
try {
  await client.fillMask({ ...at("fill-mask"), inputs: "none here" });
} catch (refused) {
  error = refused.message;
}
const text = continued.generated_text;
console.log(JSON.stringify({ labels, masks, vectors, similarity, text, pieces, error }));
