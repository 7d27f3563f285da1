/** Waits for a real condition, with a deadline: never for a fixed time. */
import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 50

/** Asks until `condition` holds. @throws Error naming what did not come true within `msMax` */
export async function eventually(
  what: string,
  condition: () => Promise<boolean> | boolean,
  msMax = 10_000,
): Promise<void> {
  const deadline = process.hrtime.bigint() + BigInt(msMax) * 1_000_000n
  while (!(await condition())) {
    if (process.hrtime.bigint() > deadline) throw new Error(`Within ${msMax} ms it did not come true that ${what}.`)
    await delay(POLL_MS)
  }
}
