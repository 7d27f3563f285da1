/**
 * kill -9 of the server and of the worker while an image is made, and while its first disks are: a base is whole or absent, what was
 * answered is done, and what crashes left is swept.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { MIB } from '#base'
import { processState, systemClock } from '#runtime'
import { ServedHome } from '../server/served-home.ts'
import { VERSION } from './api-world.ts'
import { FaceClient } from './face-client.ts'

const run = promisify(execFile)
const DISK_BYTES = 160 * MIB
/** ms after the request was answered. */
const KILLS_MS = [0, 80, 200, 350, 600]

type Done = { status: string; error?: { code: string; message: string } }

class Crash {
  readonly home: ServedHome
  readonly client: FaceClient
  readonly content = randomBytes(DISK_BYTES)
  readonly group: string

  private constructor(home: ServedHome, client: FaceClient, group: string) {
    this.home = home
    this.client = client
    this.group = group
  }

  static async make(): Promise<Crash> {
    const home = await ServedHome.make()
    try {
      await home.serve()
      const client = new FaceClient(home.home)
      const { subscriptionId } = await client.record()
      const made = new Crash(home, client, `/subscriptions/${subscriptionId}/resourceGroups/rg1`)
      assert.equal((await client.ask('PUT', `${made.group}?${VERSION}`, { location: 'eastus' })).status, 201)
      const file = join(home.home, 'import', 'source.raw')
      await mkdir(join(home.home, 'import'), { recursive: true })
      await writeFile(file, made.content)
      const creationData = { createOption: 'Import', sourceUri: `file://${file}` }
      assert.equal((await made.end(await made.put('disks', 'source', { creationData }))).status, 'Succeeded')
      await rm(file)
      return made
    } catch (error) {
      await home[Symbol.asyncDispose]()
      throw error
    }
  }

  id(kind: 'disks' | 'images', name: string): string {
    return `${this.group}/providers/Microsoft.Compute/${kind}/${name}`
  }

  put(kind: 'disks' | 'images', name: string, properties: unknown) {
    return this.client.ask<Done>('PUT', `${this.id(kind, name)}?${VERSION}`, { location: 'eastus', properties })
  }

  image(name: string) {
    const osDisk = { osType: 'Linux', osState: 'Generalized', managedDisk: { id: this.id('disks', 'source') } }
    return this.put('images', name, { storageProfile: { osDisk } })
  }

  disk(name: string, image: string) {
    return this.put('disks', name, {
      creationData: { createOption: 'FromImage', imageReference: { id: this.id('images', image) } },
    })
  }

  async end(answer: Awaited<ReturnType<Crash['put']>>): Promise<Done> {
    assert.ok([201, 202].includes(answer.status), answer.text)
    return this.client.followed<Done>(answer)
  }

  async kill(victim: 'serve' | 'worker', afterMs: number): Promise<void> {
    const worker = await this.home.worker()
    await systemClock.sleep(afterMs)
    if (victim === 'worker') {
      if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
      return
    }
    await this.home.killServe()
    await this.home.serve()
  }

  get pool(): string {
    return join(this.home.home, 'regions', 'eastus', 'pool')
  }

  async bases(): Promise<string[]> {
    return readdir(join(this.pool, 'bases')).catch(() => [])
  }

  /** Every disk of the pool that is an overlay, by its bytes as QEMU reads them. */
  async overlaysAreWhole(count: number): Promise<void> {
    const disks = await readdir(join(this.pool, 'disks'))
    assert.deepEqual(
      disks.filter((name) => name.startsWith('.making-')),
      [],
      'no draft is left',
    )
    let found = 0
    for (const name of disks) {
      const path = join(this.pool, 'disks', name)
      const info = await run('qemu-img', ['info', '-f', 'qcow2', '--output=json', path])
      if (!info.stdout.includes('backing-filename')) continue
      found += 1
      const out = join(this.home.folder, 'out.raw')
      await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, out])
      assert.ok(this.content.equals(await readFile(out)), `${name} has the image's bytes`)
      await rm(out)
    }
    assert.equal(found, count)
  }
}

for (const victim of ['worker', 'serve'] as const)
  test(`kill -9 of the ${victim} while the first disks of an image are made: a base is whole or absent`, async () => {
    const world = await Crash.make()
    await using _home = world.home
    assert.equal((await world.end(await world.image('img'))).status, 'Succeeded')
    let disks = 0
    for (const [round, delayMs] of KILLS_MS.entries()) {
      const names = [0, 1].map((i) => `d${round}-${i}`)
      const answers = []
      for (const name of names) answers.push(await world.disk(name, 'img'))
      await world.kill(victim, delayMs)
      for (const answer of answers) {
        const done = await world.end(answer)
        assert.equal(done.status, 'Succeeded', JSON.stringify(done))
      }
      disks += names.length
      assert.equal((await world.bases()).length, 1, 'one base, and no draft')
      await world.overlaysAreWhole(disks)
      // So that the next round makes the base anew, in other hands.
      for (const name of names) {
        const gone = await world.client.ask<Done>('DELETE', `${world.id('disks', name)}?${VERSION}`)
        assert.equal((await world.end(gone)).status, 'Succeeded')
      }
      disks -= names.length
      const gone = await world.client.ask<Done>('DELETE', `${world.id('images', 'img')}?${VERSION}`)
      assert.equal((await world.end(gone)).status, 'Succeeded')
      assert.deepEqual(await world.bases(), [], 'nothing needs the base any more')
      assert.equal((await world.end(await world.image('img'))).status, 'Succeeded')
    }
  })

test('kill -9 of the worker while an image is made: it is made all the same, of bytes that are whole', async () => {
  const world = await Crash.make()
  await using _home = world.home
  for (const [round, delayMs] of KILLS_MS.entries()) {
    const answer = await world.image(`i${round}`)
    await world.kill('worker', delayMs)
    const done = await world.end(answer)
    assert.equal(done.status, 'Succeeded', `${delayMs} ms: ${JSON.stringify(done)}`)
    assert.equal((await world.end(await world.disk(`d${round}`, `i${round}`))).status, 'Succeeded')
    await world.overlaysAreWhole(round + 1)
  }
})
