// tokenizer.json of a byte-level BPE tokenizer in the manner of GPT-2, from its parts.

/**
 * Entries by id, merges in order (as `left right` or as pairs), and which entries are special.
 */
export function byteLevelTokenizerJson({
  vocab,
  merges,
  special,
}: {
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly unknown[];
  readonly special: readonly (readonly [content: string, id: number])[];
}): object {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map(([content, id]) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { ...byteLevel, use_regex: true },
    post_processor: null,
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  };
}
