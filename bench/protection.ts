/**
 * A vault with a thousand machines: `script/node bench/protection.ts [machines]`. A server of a home of its own, asked over its API as
 * `az` would. The machines never run: records over raw images of 1 MiB, so that what is timed is everything but the bytes.
 *
 *   enable      each machine protected by a policy of every 4 hours, one request after the other
 *   slot        all of them due at the same moment, as after a night without the server: until the last backup is done. With the spread of
 *               two hours that a slot has, it is on time if it is shorter than that
 *   listing     all items, the jobs of the last day, the points of one machine: medians of five
 *   catalog     its growth by a backup, with what was written for it, and what of that stays when jobs and operations are forgotten
 */
import { randomFillSync } from 'node:crypto'
import { mkdir, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes, MIB, must } from '#base'
import { Catalog, listProtectedItems } from '#catalog'
import { systemClock } from '#runtime'
import { FaceClient } from '../test/api/face-client.ts'
import { VERSION } from '../test/api/api-world.ts'
import { BACKUP_VERSION } from '../test/api/protection-world.ts'
import { insertSimulatedMachines } from '../test/rig/simulated-machine.ts'
import { ServedHome } from '../test/server/served-home.ts'

const [IMAGE_BYTES, DATA_BYTES] = [MIB, 64 * 1024]
const SLOTS_A_DAY = 6
const POLL_MS = 2000

type Page = Readonly<{ value: readonly unknown[]; nextLink?: string }>

function median(values: readonly number[]): number {
  return must(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)], 'There is a value')
}

function say(name: string, value: string): void {
  process.stdout.write(`| ${name} | ${value} |\n`)
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startMs = systemClock.monotonicMs()
  await work()
  return (systemClock.monotonicMs() - startMs) / 1000
}

class Bench {
  readonly #served: ServedHome
  readonly #client: FaceClient
  readonly #group: string
  readonly #subscription: string

  constructor(served: ServedHome, client: FaceClient, subscription: string) {
    this.#served = served
    this.#client = client
    this.#subscription = subscription
    this.#group = `/subscriptions/${subscription}/resourceGroups/rg1`
  }

  get vault(): string {
    return `${this.#group}/providers/Microsoft.RecoveryServices/vaults/v1`
  }

  item(name: string): string {
    const both = `iaasvmcontainerv2;rg1;${name}`
    return `${this.vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer;${both}/protectedItems/VM;${both}`
  }

  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.#client.ask<T>(method, path, body)
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`)
    return answer.body
  }

  async prepare(names: readonly string[]): Promise<void> {
    await this.ask('PUT', `${this.#group}?${VERSION}`, { location: 'eastus' })
    const redundancySettings = { standardTierStorageRedundancy: 'LocallyRedundant' }
    const properties = { publicNetworkAccess: 'Enabled', redundancySettings }
    await this.ask('PUT', `${this.vault}?${VERSION}`, { location: 'eastus', sku: { name: 'RS0' }, properties })
    for (;;) {
      const vault = await this.ask<{ properties: { provisioningState: string } }>('GET', `${this.vault}?${VERSION}`)
      if (vault.properties.provisioningState === 'Succeeded') break
      await systemClock.sleep(100)
    }
    const folder = join(this.#served.folder, 'images')
    await mkdir(folder)
    for (const name of names) {
      const file = await open(join(folder, name), 'w')
      await file.truncate(IMAGE_BYTES)
      await file.write(randomFillSync(Buffer.alloc(DATA_BYTES)), 0, DATA_BYTES, 0)
      await file.close()
    }
    const machines = names.map((name) => {
      const disks = [{ file: join(folder, name), sizeBytes: IMAGE_BYTES }]
      return { group: this.#group, subscription: this.#subscription, name, disks }
    })
    await this.inCatalog((catalog) => insertSimulatedMachines(catalog, machines))
  }

  async enable(name: string): Promise<void> {
    const properties = {
      protectedItemType: 'Microsoft.Compute/virtualMachines',
      sourceResourceId: `${this.#group}/providers/Microsoft.Compute/virtualMachines/${name}`,
      policyId: `${this.vault}/backupPolicies/EnhancedPolicy`,
    }
    await this.ask('PUT', `${this.item(name)}?${BACKUP_VERSION}`, { properties })
  }

  async inCatalog<T>(use: (catalog: Catalog) => Promise<T>): Promise<T> {
    const catalog = await Catalog.open(join(this.#served.home, 'catalog.sqlite'), systemClock)
    try {
      return await use(catalog)
    } finally {
      await catalog.close()
    }
  }

  /** All of them are due now; resolves when every one has a point more. */
  async slot(points: number): Promise<void> {
    await this.inCatalog((catalog) =>
      catalog.write((trx) => trx.updateTable('protected_item').set({ next_due_ms: systemClock.nowMs() }).execute()),
    )
    for (;;) {
      await systemClock.sleep(POLL_MS)
      const count = await this.inCatalog(({ db }) =>
        db
          .selectFrom('vault_point')
          .select((select) => select.fn.countAll<number>().as('n'))
          .executeTakeFirst(),
      )
      if ((count?.n ?? 0) >= points) break
    }
  }

  async listed(path: string): Promise<Readonly<{ ms: number; rows: number }>> {
    const times: number[] = []
    let rows = 0
    for (let n = 0; n < 5; n += 1) {
      const took = await seconds(async () => {
        rows = (await this.ask<Page>('GET', path)).value.length
      })
      times.push(took * 1000)
    }
    return { ms: median(times), rows }
  }

  /** What the catalog holds, in bytes. */
  catalogBytes(): Promise<number> {
    return this.inCatalog(async (catalog) => {
      await catalog.write(() => Promise.resolve())
      const file = join(this.#served.home, 'catalog.sqlite')
      const wal = await stat(`${file}-wal`).catch(() => undefined) // There is none when all of it was taken over.
      return (await stat(file)).size + (wal?.size ?? 0)
    })
  }

  /** The tables by what their rows hold. */
  rows(): Promise<Readonly<Record<string, number>>> {
    return this.inCatalog(async ({ db }) => {
      const counts: Record<string, number> = {}
      for (const table of ['job', 'job_step', 'job_event', 'operation', 'backup_job', 'vault_point'] as const) {
        const row = await db
          .selectFrom(table)
          .select((select) => select.fn.countAll<number>().as('n'))
          .executeTakeFirst()
        counts[table] = row?.n ?? 0
      }
      return counts
    })
  }
}

async function main(count: number): Promise<void> {
  const served = await ServedHome.make()
  try {
    await served.serve()
    const client = new FaceClient(served.home)
    const { subscriptionId } = await client.record()
    const bench = new Bench(served, client, subscriptionId)
    const names = Array.from({ length: count }, (_, i) => `vm${String(i).padStart(4, '0')}`)
    await bench.prepare(names)
    process.stdout.write(`| ${count} machines in one vault | |\n|---|---|\n`)
    const enabled = await seconds(async () => {
      for (const name of names) await bench.enable(name)
    })
    say('protected, by a request each', `${((enabled / count) * 1000).toFixed(0)} ms each`)
    const items = await bench.inCatalog((catalog) => listProtectedItems(catalog, {}))
    const dues = items.map(({ nextDueMs = 0, slotMs = 0 }) => (nextDueMs - slotMs) / 60_000)
    say(
      'spread of their starts after the slot',
      `${Math.min(...dues).toFixed(0)} to ${Math.max(...dues).toFixed(0)} min`,
    )
    const before = await bench.catalogBytes()
    const first = await seconds(() => bench.slot(count))
    say('all due at once, first points', `${first.toFixed(0)} s, ${((first / count) * 1000).toFixed(0)} ms each`)
    const between = await bench.catalogBytes()
    const second = await seconds(() => bench.slot(2 * count))
    say('all due at once, nothing changed', `${second.toFixed(0)} s, ${((second / count) * 1000).toFixed(0)} ms each`)
    const after = await bench.catalogBytes()
    for (const [name, path] of [
      ['items listed', `${bench.vault}/backupProtectedItems?${BACKUP_VERSION}`],
      ['jobs listed', `${bench.vault}/backupJobs?${BACKUP_VERSION}`],
      ['points of a machine listed', `${bench.item('vm0000')}/recoveryPoints?${BACKUP_VERSION}`],
    ] as const) {
      const { ms, rows } = await bench.listed(path)
      say(name, `${rows} in ${ms.toFixed(0)} ms`)
    }
    const each = Math.max(after - between, between - before) / count
    say('catalog by a backup', formatBytes(each))
    say('rows', JSON.stringify(await bench.rows()))
    const aDay = each * count * SLOTS_A_DAY
    say(`catalog in a day of ${SLOTS_A_DAY} slots`, formatBytes(aDay))
  } finally {
    await served[Symbol.asyncDispose]()
  }
}

await main(Number(process.argv[2] ?? 1000))
