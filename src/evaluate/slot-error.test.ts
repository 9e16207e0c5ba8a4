import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { itWithShared } from "../../test/shared.ts";
import { loadExamples } from "./data.ts";
import { type SlotTask, slotReports, slotRules, slotTotals } from "./slot-error.ts";

interface Case {
  readonly text: string;
  readonly missing?: readonly string[];
  readonly invented?: readonly string[];
}

function check(task: SlotTask, input: string, others: readonly string[], cases: readonly Case[]) {
  const rules = slotRules(task, [input, ...others]);
  for (const { text, missing = [], invented = [] } of cases) {
    const report = rules(input, text);
    expect(report, text).toEqual({ total: report.total, missing, invented });
  }
}

describe("E2E", () => {
  const full =
    "name[The Lantern], eatType[coffee shop], food[Fast food], priceRange[£20-25], " +
    "customer rating[3 out of 5], area[riverside], familyFriendly[yes], near[Café Noir]";
  const other = "name[Blue Door], near[The Lantern Court]";

  it("finds every value, in other words, too", () => {
    check(
      "e2e",
      full,
      [other],
      [
        {
          text:
            "The Lantern is a kid-friendly coffee shop by the river near Cafe Noir. It serves " +
            "fast food at moderate prices and has a customer rating of three out of five.",
        },
        {
          text:
            "Near Café Noir on the riverside, the family friendly cafe Lantern has fast food for " +
            "£20-25. Its customers give it 3 stars.",
        },
      ],
    );
    expect(slotRules("e2e", [full])(full, "").total).toBe(8);
  });

  it("finds what is missing and what is invented; a wrong value is both", () => {
    check(
      "e2e",
      full,
      [other],
      [
        {
          text: "Blue Door is a pub near Café Noir in the city centre.",
          missing: [
            ...["name=The Lantern", "eatType=coffee shop", "food=Fast food", "priceRange=£20-25"],
            ...["customer rating=3 out of 5", "area=riverside", "familyFriendly=yes"],
          ],
          invented: ["name=Blue Door", "eatType=pub", "area=city centre"],
        },
        {
          text:
            "The Lantern is a cheap coffee shop with fast food on the riverside near Café Noir. " +
            "It is not family-friendly and has a low customer rating.",
          missing: ["priceRange=£20-25", "customer rating=3 out of 5", "familyFriendly=yes"],
          invented: ["priceRange=cheap", "customer rating=low", "familyFriendly=no"],
        },
      ],
    );
  });

  it("takes a longer name for itself, and names for no kind of food", () => {
    const input = "name[Curry Palace], near[The Lantern Court]";
    check(
      "e2e",
      input,
      [full, "name[Lantern]"],
      [
        { text: "Curry Palace is near The Lantern Court." },
        { text: "The Lantern Court is near curry palace" },
      ],
    );
  });

  it.each([
    ["priceRange[less than £20]", ["inexpensive", "low-priced", "for less than £20"]],
    ["priceRange[high]", ["in the high price range", "expensive", "with prices above £30"]],
    ["priceRange[moderate]", ["moderately priced", "with prices that are average"]],
    ["customer rating[high]", ["rated 5 out of 5", "with a five star rating"]],
    ["customer rating[1 out of 5]", ["poorly rated", "with a rating of 1 out of 5"]],
    ["customer rating[average]", ["with average reviews", "given 3 of 5 stars"]],
  ])("knows %s in other words", (input, texts) => {
    const unknown = input.replace(/\[.*/, "[?]");
    for (const text of texts.map((words) => `It is ${words}.`)) {
      check("e2e", input, [], [{ text }]);
      // One value and no more is heard where another is asked for.
      expect(slotRules("e2e", [])(unknown, text).invented.length, text).toBe(1);
    }
  });

  it.each([
    ["Families are welcome.", "yes"],
    ["It is child friendly.", "yes"],
    ["It isn't child friendly.", "no"],
    ["A non-family-friendly place.", "no"],
    ["It is not a place for kids.", "no"],
    ["Children are not allowed.", "no"],
    ["It is for adults only.", "no"],
    ["It is not far. Kids are welcome.", "yes"],
  ])("%s familyFriendly is %s", (text, value) => {
    for (const given of ["yes", "no"]) {
      const input = `familyFriendly[${given}]`;
      const { missing } = slotRules("e2e", [input])(input, text);
      expect(missing.length).toBe(given === value ? 0 : 1);
    }
    expect(slotRules("e2e", [])("name[x]", text).invented).toEqual([`familyFriendly=${value}`]);
  });

  it("keeps price and rating apart", () => {
    const input = "priceRange[high], customer rating[low]";
    const text = "It has a high price range but low customer rating";
    check("e2e", input, [], [{ text }, { text: "High prices. Its rating is 1 out of 5 stars." }]);
    const [a, b] = [
      "priceRange[cheap], customer rating[high]",
      "It has a low price and high ratings.",
    ];
    check("e2e", a, [], [{ text: b }]);
  });
});

describe("MultiWOZ", () => {
  it("looks for values, numbers as digits or words", () => {
    const input =
      "Hotel-Inform(Choice=3, Type=guest houses, Area=center, Price=moderately priced, Internet, " +
      "Parking=yes); general-reqmore(); Booking-Request(Day=?, People=?)";
    check(
      "multiwoz",
      input,
      [],
      [
        {
          text:
            "Three guesthouses in the centre are moderately priced, with wifi and free parking. " +
            "What day, and for how many?",
        },
        {
          text: "There are 3 guesthouses in the north.",
          missing: ["Area=center", "Price=moderately priced", "Internet=yes", "Parking=yes"],
          invented: ["Area=north"],
        },
      ],
    );
  });

  it("knows tokens by their form", () => {
    const input =
      "Train-OfferBooked(Ref=AB12CD34, Ticket=10.10 pounds, Id=TR0123, Leave=05:15); " +
      "Taxi-Inform(Phone=01223000111)";
    check(
      "multiwoz",
      input,
      [],
      [
        {
          text: "TR0123 at 05:15 is booked, reference AB12CD34: £10.10. Call 01223000111.",
        },
        {
          text: "TR0124 at 5:35 is booked, reference AB12CD3X: £20.10. Call 01223000112, cb21ab.",
          missing: [
            ...["Ref=AB12CD34", "Ticket=10.10 pounds", "Id=TR0123", "Leave=05:15"],
            "Phone=01223000111",
          ],
          invented: [
            ...["Time=5:35", "Phone=01223000112", "Post=cb21ab", "Id=tr0124", "Ticket=20.10"],
            "Ref=ab12cd3x",
          ],
        },
      ],
    );
  });

  it("keeps commas in a value and passes over what cannot be looked for", () => {
    const input =
      "Attraction-Inform(Addr=12 mill road, old town, Name=the Owl's Nest, Fee=unknown, Open); " +
      "Attraction-NoOffer(Area=don't care); general-bye()";
    const { total } = slotRules("multiwoz", [input])(input, "");
    expect(total).toBe(2);
    check("multiwoz", input, [], [{ text: "Owl 's nest is at 12 Mill Road, Old Town. Goodbye!" }]);
  });

  it("knows names and food from the other inputs", () => {
    const others = [
      "Restaurant-Inform(Name=silver fork, Food=corsican)",
      "Hotel-Inform(Name=golden spoon lodge)",
    ];
    const input = "Hotel-Inform(Name=golden spoon lodge)";
    check("multiwoz", input, others, [
      { text: "Golden Spoon Lodge is nice." },
      { text: "The Golden Spoon Lodge, or golden spoon for short." },
      {
        text: "The Silver Fork has Corsican food on Monday.",
        missing: ["Name=golden spoon lodge"],
        invented: ["Name=silver fork", "Food=corsican", "Day=monday"],
      },
    ]);
  });
});

describe("the rate", () => {
  it("is missing and invented by slots", () => {
    const pairs = [
      { input: "name[A B], area[riverside]", text: "A B is by the river." },
      { input: "name[C D], food[French]", text: "A B has French food in the city centre." },
    ];
    const totals = slotTotals(slotReports("e2e", pairs));
    expect(totals).toEqual({ rate: 3 / 4, missing: 1, invented: 2, total: 4 });
  });

  it("names an input that is none of the task's", () => {
    for (const [task, input] of [
      ["e2e", "Hotel-Inform(Area=east)"],
      ["e2e", "name[open"],
      ["multiwoz", "name[x]"],
      ["multiwoz", "Hotel-Inform(Area=east"],
    ] as const) {
      const pairs = [{ input, text: "x" }];
      const { message } = errorOf("E_DATA", () => slotReports(task, pairs, (i) => `file:${i + 7}`));
      expect(message).toMatch(/^file:7: the input is not written as .*; check --task and --data$/);
    }
    errorOf("E_DATA", () => slotTotals([]));
    errorOf("E_DATA", () => slotTotals(slotReports("e2e", [{ input: "", text: "x" }])));
  });

  // Human texts leave values out and get some wrong; the rules must not find much more than that.
  itWithShared("data", "is low on human references", async (folder) => {
    const rates = { e2e: 0.09, multiwoz: 0.016 };
    for (const task of ["e2e", "multiwoz"] as const) {
      const examples = await loadExamples(join(folder, task, "dev.jsonl.gz"));
      const pairs = examples.flatMap(({ input, refs }) => refs.map((text) => ({ input, text })));
      const { rate } = slotTotals(slotReports(task, pairs));
      expect(rate, task).toBeLessThan(rates[task]);
      // What one input says of another's text is mostly wrong.
      const shifted = pairs.map(({ input }, i) => {
        return { input, text: pairs[((i + pairs.length / 2) % pairs.length) | 0].text };
      });
      expect(slotTotals(slotReports(task, shifted)).rate, task).toBeGreaterThan(0.5);
    }
  });
});
