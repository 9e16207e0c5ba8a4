// What a generation will cost, exactly, without running it: the same figures that it reports.

import { slabLengths } from "../plan/masks.ts";
import { computeCost, offlineCost, onlineCost } from "../run/cost.ts";
import { frameBytes } from "../wire/frame.ts";
import { BUNDLE_HEADER_BYTES } from "./messages.ts";
import { clientGroups, type Plan, serverGroups } from "./plan.ts";
import type { OfflineReport, OnlineReport } from "./report.ts";

export interface Prediction {
  readonly online: Omit<OnlineReport, "seconds">;
  readonly offline: Omit<OfflineReport, "seconds">;
  /** Ring multiply-adds of linear layers: of S online, and as many each of C and of D offline. */
  readonly multiplyAdds: {
    readonly server: number;
    readonly client: number;
    readonly dealer: number;
  };
  readonly digest: string;
}

/** Predicts a run that goes on to exactly the plan's number of tokens. */
export function predict(plan: Plan): Prediction {
  const online = onlineCost({
    serverGroups: plan.bundles.flatMap(serverGroups),
    clientGroups: plan.bundles.flatMap(clientGroups),
  });
  const offline = plan.bundles.map((bundle) => offlineCost(bundle));
  const total = (sizes: readonly number[]) =>
    sizes.reduce((sum, size) => sum + frameBytes(size), 0);
  const { multiplyAdds } = computeCost(plan.segments);
  return {
    online: {
      roundTrips: online.roundTrips,
      clientSentBytes: total(online.clientMessages),
      serverSentBytes: total(online.serverMessages),
    },
    offline: {
      dealerToServerBytes: total(offline.map((cost) => cost.dealerToServer + BUNDLE_HEADER_BYTES)),
      dealerToClientBytes: total(offline.map((cost) => cost.dealerToClient + BUNDLE_HEADER_BYTES)),
      clientToServerBytes: total(offline.map((cost) => cost.clientToServer)),
      serverToDealerBytes: total(plan.tensors.flatMap(slabLengths).map((words) => 8 * words)),
    },
    multiplyAdds: { server: multiplyAdds, client: multiplyAdds, dealer: multiplyAdds },
    digest: plan.digest,
  };
}
