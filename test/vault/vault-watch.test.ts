import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { must } from '#base'
import { changeProtectedItem, listAlerts } from '#catalog'
import { ALERTS, COPY_CATALOG_JOB, MIRROR_VAULT_JOB, openAlert } from '#jobs'
import { CONFIG_DEFAULTS, VaultWatch } from '#server'
import { silentLogger, systemClock, systemRandom } from '#runtime'
import { ITEM, VAULT, VaultWorld } from './vault-world.ts'

type Told = Readonly<{ headers: IncomingHttpHeaders; body: string }>

/** A webhook that refuses the first request. */
async function hook(): Promise<{ url: string; told: Told[]; server: Server }> {
  const told: Told[] = []
  let requests = 0
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      requests += 1
      if (requests > 1) told.push({ headers: request.headers, body })
      response.writeHead(requests > 1 ? 204 : 503).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return { url: `http://127.0.0.1:${port}/alerts`, told, server }
}

function watchOf(world: VaultWorld, webhook: string | null = null): VaultWatch {
  const config = { ...CONFIG_DEFAULTS, alerts: { webhook, secretFile: null } }
  const { catalog, engine } = world
  return new VaultWatch({ catalog, engine, clock: systemClock, random: systemRandom, logger: silentLogger, config })
}

async function settled(world: VaultWorld, name: string): Promise<void> {
  const [job] = await world.engine.list({ name, limit: 1 })
  await world.engine.wait(must(job, `A job ${name} was started`).id)
}

test('The watch mirrors a new point, copies the catalog and starts nothing twice', async () => {
  const world = await VaultWorld.make()
  try {
    await world.addPoint(1)
    const watch = watchOf(world)
    await watch.look()
    await settled(world, MIRROR_VAULT_JOB)
    await settled(world, COPY_CATALOG_JOB)
    assert.ok((await world.points()).every(({ mirroredMs }) => mirroredMs !== undefined))
    for (let looks = 0; looks < 3; looks += 1) await watch.look()
    assert.equal((await world.engine.list({ name: MIRROR_VAULT_JOB })).length, 1)
    assert.equal((await world.engine.list({ name: COPY_CATALOG_JOB })).length, 1)
    await world.addPoint(2)
    await watch.look()
    await settled(world, MIRROR_VAULT_JOB)
    assert.ok((await world.points()).every(({ mirroredMs }) => mirroredMs !== undefined))
  } finally {
    await world.close()
  }
})

test('A vault that was made locked has a locked repository before its mirror is looked at twice', async () => {
  const world = await VaultWorld.make({ immutability: { state: 'Locked', days: 2 } })
  try {
    const watch = watchOf(world)
    await watch.look()
    await settled(world, 'set-vault-immutability')
    await world.withVault(world.vaultFolder, async ({ log }) => {
      assert.deepEqual(log.state.immutability, { state: 'locked', days: 2 })
    })
    await watch.look()
    assert.equal((await world.engine.list({ name: 'set-vault-immutability' })).length, 1)
  } finally {
    await world.close()
  }
})

test('A backup that was missed raises one alert, which is over when it is not due any more', async () => {
  const world = await VaultWorld.make()
  try {
    const nowMs = systemClock.nowMs()
    const due = (nextDueMs: number) =>
      world.catalog.write((trx) => changeProtectedItem(trx, ITEM.toLowerCase(), { nextDueMs }, nowMs))
    await due(nowMs - 2 * 3_600_000)
    const watch = watchOf(world)
    await watch.look()
    await watch.look()
    const found = await listAlerts(world.catalog, { kind: ALERTS.missedSchedule })
    assert.deepEqual(
      found.map(({ itemKey, resolvedMs }) => [itemKey, resolvedMs]),
      [[ITEM.toLowerCase(), undefined]],
    )
    await due(nowMs + 3_600_000)
    await watch.look()
    assert.deepEqual(await listAlerts(world.catalog, { kind: ALERTS.missedSchedule, onlyOpen: true }), [])
  } finally {
    await world.close()
  }
})

test('The webhook is told once that an alert is raised and once that it is over, signed, although it fails at first', async () => {
  const { url, told, server } = await hook()
  const secretFile = join('/tmp', `hf-hook-${process.pid}.secret`)
  await writeFile(secretFile, 'the secret')
  const world = await VaultWorld.make({}, { url, secretFile })
  try {
    const source = { clock: systemClock, random: systemRandom }
    const alert = {
      vaultKey: VAULT.toLowerCase(),
      kind: ALERTS.softDeleteChanged,
      severity: 'Warning',
      message: 'Soft delete was changed.',
      facts: { to: 'Disabled' },
      isOver: true,
    } as const
    await world.catalog.write((trx) => openAlert(trx, alert, source))
    const watch = watchOf(world, url)
    for (let looks = 0; looks < 3; looks += 1) await watch.look()
    for (const { id } of await world.engine.list({ name: 'tell-alert' })) await world.engine.wait(id)
    assert.equal((await world.engine.list({ name: 'tell-alert' })).length, 2)
    const conditions = told.map(({ body }) => {
      const { essentials } = (JSON.parse(body) as { data: { essentials: Record<string, string> } }).data
      assert.equal(essentials['alertRule'], 'SoftDeleteChanged')
      return essentials['monitorCondition']
    })
    assert.equal(conditions.length, 2)
    assert.deepEqual(new Set(conditions), new Set(['Fired', 'Resolved']))
    for (const { headers, body } of told) {
      const [, seconds = '', digest] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['holdfast-signature'])) ?? []
      assert.equal(digest, createHmac('sha256', 'the secret').update(`${seconds}.${body}`).digest('hex'))
    }
  } finally {
    await world.close()
    server.close()
  }
})
