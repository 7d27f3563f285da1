/** Running a server, as an administrator does it: making a home, what clients are told, how it is, helping, ending it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'
import { processState } from '#runtime'
import type { Diagnosis, FaceRecord, Health, NewPrincipal, RegionDetail, Stopped } from '#server'
import { run } from '../cli/command-line.ts'
import { until } from '../jobs/processes.ts'
import { ServedHome } from './served-home.ts'

type Answer = Readonly<{ status: number; headers: Record<string, unknown>; text: string }>

async function ask(face: FaceRecord, path: string, body?: string, token?: string): Promise<Answer> {
  const ca = await readFile(face.caFile, 'utf8')
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const method = body === undefined ? 'GET' : 'POST'
  return new Promise((resolve, reject) => {
    const sent = request(`${face.endpoint}${path}`, { method, ca, headers, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString() }),
      )
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

async function login(face: FaceRecord, clientId: string, secret: string): Promise<string | undefined> {
  const form = { grant_type: 'client_credentials', client_id: clientId, client_secret: secret }
  const body = new URLSearchParams({ ...form, scope: `${face.endpoint}//.default` }).toString()
  const { text } = await ask(face, '/adfs/oauth2/token', body)
  return (JSON.parse(text) as { access_token?: string }).access_token
}

/** Every word of every secret in the home, by the files that must hold them. */
async function secretsIn(home: string): Promise<string[]> {
  const files = (await readdir(join(home, 'keys'))).map((name) => join(home, 'keys', name))
  files.push(
    ...(await readdir(join(home, 'tls')))
      .filter((name) => name.endsWith('.key'))
      .map((name) => join(home, 'tls', name)),
  )
  const texts = await Promise.all(files.map((path) => readFile(path, 'utf8')))
  return texts.flatMap((text) => text.match(/[\w+/~=-]{16,}/g) ?? []).filter((word) => !word.includes('-----'))
}

test('A home is made, refused settings are told, and a server that is not there is told of', async () => {
  await using home = await ServedHome.make()
  const made = await home.run<Record<string, string>>('init', '--port', '0')
  assert.equal((await stat(String(made['clientSecretFile']))).mode & 0o777, 0o600)
  assert.equal((await readFile(String(made['clientSecretFile']), 'utf8')).trim(), made['clientSecret'])
  assert.equal((await stat(home.home)).mode & 0o777, 0o700)
  const again = await home.run<Record<string, string>>('init')
  assert.equal(again['clientSecret'], undefined, 'shown once')
  assert.equal(again['tenantId'], made['tenantId'])

  const env = await home.fail('client-env')
  assert.deepEqual([env.code, env.exitCode], ['serve_not_running', 6])
  assert.match(String(env.hint), /holdfast serve/)

  await home.run('config', 'check')
  const path = join(home.home, 'holdfast.yaml')
  assert.match(await readFile(path, 'utf8'), /^ {2}port: 0$/m)
  await writeFile(path, 'listen:\n  prot: 1\n')
  for (const command of [['config', 'check'], ['serve'], ['init']]) {
    const refused = await home.fail(...command)
    assert.deepEqual([refused.code, refused.exitCode], ['config_invalid', 2], command.join(' '))
    assert.match(refused.message, /line 2: listen\.prot is no setting here/)
  }
})

test('A served home: clients, identity, places, health, metrics, support, end', async (t) => {
  await using home = await ServedHome.make()
  await home.serve()
  const face = await home.run<FaceRecord>('client-env')

  await t.test('client-env gives exactly what clients need, and it works', async () => {
    const names = ['caFile', 'clientId', 'clientSecretFile', 'endpoint', 'subscriptionId', 'tenantId']
    assert.deepEqual(Object.keys(face).sort(), names)
    const token = await login(face, face.clientId, (await readFile(face.clientSecretFile, 'utf8')).trim())
    const { status, headers } = await ask(face, '/subscriptions?api-version=2022-12-01', undefined, token)
    assert.equal(status, 200)
    assert.match(String(headers['x-ms-request-id']), /^[0-9a-f-]{36}$/)
    const shell = await run(home.folder, ['client-env'], { env: home.env })
    assert.match(
      shell.stdout,
      /^az login --service-principal -u [0-9a-f-]{36} -p "\$\(cat .*\)" --tenant [0-9a-f-]{36}$/m,
    )
  })

  await t.test(
    'a principal logs in with a secret from a file; a new secret overlaps, and ends the old one when told',
    async () => {
      const file = join(home.folder, 'ci.secret')
      const made = await home.run<NewPrincipal>('principal', 'add', 'ci', '--secret-file', file)
      assert.equal(made.secret, undefined, 'what went to a file is not shown')
      const first = (await readFile(file, 'utf8')).trim()
      assert.equal((await stat(file)).mode & 0o777, 0o600)
      const taken = await home.fail('principal', 'reset-secret', 'ci', '--secret-file', file)
      assert.equal(taken.code, 'secret_file_unusable')
      const second = await home.run<NewPrincipal>('principal', 'reset-secret', 'ci')
      for (const secret of [first, second.secret]) assert.ok(await login(face, made.clientId, secret), 'both work')
      const third = await home.run<NewPrincipal>('principal', 'reset-secret', 'ci', '--overlap-hours', '0')
      for (const secret of [first, second.secret]) assert.equal(await login(face, made.clientId, secret), undefined)
      const token = await login(face, made.clientId, third.secret)
      const groups = `/subscriptions/${face.subscriptionId}/resourcegroups/none?api-version=2024-11-01`
      assert.equal((await ask(face, groups, undefined, token)).status, 403)
      await home.run('role', 'assign', 'Reader', 'ci')
      assert.equal((await ask(face, groups, undefined, token)).status, 404, 'the role is heeded at once')
      await home.run('role', 'unassign', 'reader', 'ci')
      assert.equal((await ask(face, groups, undefined, token)).status, 403)
      const missing = await home.fail('principal', 'add', 'ci', '--secret-file', join(home.folder, 'never'))
      assert.equal(missing.code, 'principal_exists')
      assert.ok(!existsSync(join(home.folder, 'never')), 'no empty file stays')
      const last = await home.fail('principal', 'remove', 'administrator')
      assert.deepEqual([last.code, last.exitCode], ['principal_last_owner', 5])
    },
  )

  await t.test('the administrator’s file has the new secret after a reset', async () => {
    const { secret } = await home.run<NewPrincipal>(
      'principal',
      'reset-secret',
      'administrator',
      '--overlap-hours',
      '0',
    )
    assert.equal((await readFile(face.clientSecretFile, 'utf8')).trim(), secret)
    assert.ok(await login(face, face.clientId, secret))
  })

  await t.test('regions of your own are locations of the API', async () => {
    await home.run('region', 'add', 'attic', '--display-name', 'The attic')
    await home.run('region', 'add', 'cellar', '--pair', 'attic')
    await home.run('pool', 'add', 'cellar', 'fast', '--path', 'pool', '--reserve', '1MiB')
    await home.run('store', 'add', 'cellar', 'vault', '--location', 'vault')
    const region = await home.run<RegionDetail>('region', 'show', 'cellar')
    assert.deepEqual(
      [region.pools[0]?.path, region.stores[0]?.location],
      [join(home.folder, 'pool'), join(home.folder, 'vault')],
    )
    const token = await login(face, face.clientId, (await readFile(face.clientSecretFile, 'utf8')).trim())
    const { text } = await ask(
      face,
      `/subscriptions/${face.subscriptionId}/locations?api-version=2022-12-01`,
      undefined,
      token,
    )
    const { value } = JSON.parse(text) as { value: { name: string; metadata: { pairedRegion: { name: string }[] } }[] }
    const cellar = value.find(({ name }) => name === 'cellar')
    assert.equal(cellar?.metadata.pairedRegion[0]?.name, 'attic')
    const used = await home.fail('region', 'remove', 'cellar')
    assert.deepEqual([used.code, used.exitCode], ['place_in_use', 5])
  })

  await t.test('metrics tell of requests by action, of jobs, processes and space', async () => {
    const { status, text } = await ask(face, '/metrics')
    assert.equal(status, 200)
    assert.match(
      text,
      /^holdfast_api_requests_total\{method="GET",action="Microsoft\.Resources\/subscriptions\/read",status="200"\} [1-9]/m,
    )
    assert.match(text, /^holdfast_api_request_seconds_count\{method="GET"\} [1-9]/m)
    assert.match(text, /^holdfast_process_well\{process="worker"\} 1$/m)
    assert.match(text, /^holdfast_place_free_bytes\{kind="pool",region="cellar",name="fast"\} [1-9]/m)
    assert.match(text, /^holdfast_catalog_rows\{table="principal"\} 2$/m)
  })

  await t.test('doctor finds nothing failed', async () => {
    const { findings } = await home.run<Diagnosis>('doctor')
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'failed'),
      [],
    )
    for (const check of ['server', 'worker', 'watchdog', 'catalog', 'pool cellar/fast', 'store cellar/vault'])
      assert.equal(findings.find((finding) => finding.check === check)?.severity, 'well', check)
  })

  await t.test('the support bundle holds no word of any secret, even of those that a log holds', async () => {
    const secrets = await secretsIn(home.home)
    assert.ok(secrets.length > 10, 'the search has something to search for')
    await writeFile(join(home.home, 'log', 'serve.log'), secrets.map((secret) => `said ${secret} aloud\n`).join(''))
    const archive = join(home.folder, 'support.tar')
    await home.run('support-bundle', '--to', archive)
    assert.equal((await stat(archive)).mode & 0o777, 0o600)
    const bytes = await readFile(archive)
    for (const secret of secrets) assert.ok(!bytes.includes(secret), `it holds ${secret.slice(0, 6)}...`)
    assert.ok(!bytes.includes('correct horse'))
    const listed = execFileSync('tar', ['-tf', archive]).toString()
    for (const name of ['doctor.json', 'status.json', 'jobs.json', 'settings.yaml', 'log/worker.log'])
      assert.match(listed, new RegExp(`^holdfast-support/${name}$`, 'm'))
    const log = execFileSync('tar', ['-xOf', archive, 'holdfast-support/log/serve.log']).toString()
    assert.match(log, /^said \[hidden\] aloud$/m)
  })

  await t.test('healthz is 503 while the worker does not run or does not answer', async () => {
    assert.equal((await ask(face, '/healthz')).status, 200)
    const worker = await home.worker()
    process.kill(worker.pid, 'SIGSTOP')
    try {
      const sick = await until('the health says so', async () => {
        const answer = await ask(face, '/healthz')
        return answer.status === 503 ? answer : undefined
      })
      assert.match(sick.text, /"worker":"(silent|hung)"/)
    } finally {
      process.kill(worker.pid, 'SIGCONT')
    }
    await until('it is well again', async () => (await ask(face, '/healthz')).status === 200)
  })

  await t.test('stop --all ends server, worker and watchdog; the next server has everything', async () => {
    const { processes, pid } = await home.run<Health>('status')
    const { stopped } = await home.run<{ stopped: Stopped[] }>('stop', '--all')
    const names = stopped.map(({ name }) => name)
    // A watchdog that has nothing to guard may leave by itself as soon as the server is gone.
    assert.deepEqual(names.slice(0, 2), ['server', 'worker'])
    assert.equal(stopped[0]?.pid, pid)
    for (const { identity } of processes) assert.ok(identity !== undefined && processState(identity) === 'dead')
    assert.deepEqual((await home.run<{ stopped: Stopped[] }>('stop', '--all')).stopped, [])
    await mkdir(join(home.home, 'run'), { recursive: true })
    await home.serve()
    assert.equal((await home.run<RegionDetail>('region', 'show', 'cellar')).pair, 'attic')
    await home.run('stop', '--all')
  })
})
