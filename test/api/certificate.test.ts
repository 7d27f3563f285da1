/** A certificate of one's own, and its change while the server runs. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { must } from '#base'
import { Catalog } from '#catalog'
import { ApiDesk, DeploymentDesk, EmbeddedEngine } from '#jobs'
import { checkCommand, identityOf, silentLogger, systemClock, systemRandom } from '#runtime'
import { defineJobs, openFace, openHome } from '#server'

/** A certificate for 127.0.0.1 that is its own CA. */
async function makePair(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')]
  const names = ['-subj', '/CN=own', '-addext', 'subjectAltName=IP:127.0.0.1']
  await checkCommand('openssl', ['req', '-x509', '-nodes', '-newkey', 'rsa:2048', '-days', '9', ...names, ...files])
}

async function fingerprint(url: string, caPath: string): Promise<string> {
  const { port } = new URL(url)
  const socket = connect({ host: '127.0.0.1', port: Number(port), ca: await readFile(caPath) })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

test('A certificate of one’s own is listened with; one that takes its place is taken over, a bad one is not', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfc-'))
  const home = openHome(join(folder, 'home'))
  const parts = { clock: systemClock, random: systemRandom, logger: silentLogger }
  const catalog = await Catalog.open(home.catalog, systemClock)
  const process = must(identityOf(), 'This process has an identity')
  const engine = new EmbeddedEngine({ ...parts, catalog, process })
  try {
    const deployments = new DeploymentDesk()
    const apiDesk = new ApiDesk()
    const tasks = { run: () => Promise.reject(new Error('No worker runs here.')) }
    defineJobs(home, { engine, catalog, tasks, deployments, apiDesk })
    const own = join(folder, 'own')
    for (const name of ['own', 'next']) await makePair(join(folder, name))
    const [certificatePath, keyPath, caPath] = ['cert.pem', 'key.pem', 'cert.pem'].map((name) => join(own, name)) as [
      string,
      string,
      string,
    ]
    const health = () => Promise.resolve({ healthy: true, facts: {} })
    const face = await openFace(
      { address: '127.0.0.1', port: 0, ownCertificate: { certificatePath, keyPath, caPath } },
      { ...parts, home, catalog, engine, deployments, apiDesk, health },
    )
    try {
      assert.equal(face.record.caFile, caPath)
      const first = await fingerprint(face.record.endpoint, caPath)
      await face.renewCertificate()
      assert.equal(await fingerprint(face.record.endpoint, caPath), first)
      await cp(join(folder, 'next', 'cert.pem'), certificatePath)
      await assert.rejects(face.renewCertificate(), { code: 'tls_unusable' }, 'the key is not there yet')
      await cp(join(folder, 'next', 'key.pem'), keyPath)
      await face.renewCertificate()
      assert.notEqual(await fingerprint(face.record.endpoint, caPath), first)
      await writeFile(keyPath, 'gone')
      await assert.rejects(face.renewCertificate(), { code: 'tls_unusable' })
      assert.notEqual(await fingerprint(face.record.endpoint, caPath), first, 'what worked goes on')
    } finally {
      await face.close()
    }
  } finally {
    await engine.stop()
    await catalog.close()
    await rm(folder, { recursive: true, force: true })
  }
})
