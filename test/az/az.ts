/**
 * The official command line, unmodified, as Debian 13 ships it, run in the tree that test/az/install-az made. Each `Az` has a
 * configuration folder of its own and with it a login of its own: tokens are cached there, and a cached one would hide a
 * refused secret. What it prints is JSON; what it fails with is its exit code and the code in its message.
 */
import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { must } from '#base'
import type { FaceRecord } from '#server'

const INSTALL = resolve(import.meta.dirname, 'install-az')
const RUN = resolve(import.meta.dirname, 'in-az')
/** The slowest is the first of a configuration folder, which builds the index of commands. */
const COMMAND_MS_MAX = 180_000

export type AzFailure = Readonly<{ exitCode: number | null; stderr: string }>
type Ran = AzFailure & Readonly<{ stdout: string }>

function installed(): SpawnSyncReturns<string> {
  return spawnSync(INSTALL, ['--have'], { encoding: 'utf8' })
}

/** Why there is no az here; false when there is one, as node:test wants it. */
export function azMissing(): string | false {
  if (process.getuid?.() !== 0) return 'az runs in a tree of its own, which needs root'
  return installed().status === 0 ? false : 'az is not installed: script/test --az, or test/az/install-az'
}

export class Az {
  readonly #tree: string
  /** What az sees as /lab. */
  readonly #lab: string
  readonly #own: string
  readonly #caFile: string
  #commands = 0

  private constructor(tree: string, lab: string, own: string, caFile: string) {
    this.#tree = tree
    this.#lab = lab
    this.#own = own
    this.#caFile = caFile
  }

  /** @param lab a folder that az may see, which the caller takes away. @param caFile in it */
  static async make(lab: string, caFile: string): Promise<Az> {
    return new Az(installed().stdout.trim(), lab, await mkdtemp(join(lab, 'az-')), caFile)
  }

  /** How many were run. */
  get commands(): number {
    return this.#commands
  }

  /** What must succeed; undefined when it prints nothing. */
  async run<T = unknown>(...args: readonly string[]): Promise<T> {
    const { exitCode, stdout, stderr } = await this.#run(args)
    assert.equal(exitCode, 0, `az ${args.join(' ')}: ${stderr}`)
    return (stdout.trim() === '' ? undefined : JSON.parse(stdout)) as T
  }

  /** Lines of a shell, with nothing set but where home is; gives what they print. Paths in them are of outside. */
  async shell(lines: string): Promise<string> {
    this.#commands += 1
    const script = lines.replaceAll(this.#lab, '/lab')
    const { exitCode, stdout, stderr } = await this.#spawn([`HOME=${this.#inside()}`, 'sh', '-euc', script])
    assert.equal(exitCode, 0, `${script}: ${stderr}`)
    return stdout
  }

  /** What must fail, and how it says so. */
  async fail(...args: readonly string[]): Promise<AzFailure> {
    const ran = await this.#run(args)
    assert.notEqual(ran.exitCode, 0, `az ${args.join(' ')} was to fail, but printed ${ran.stdout}`)
    assert.ok(!ran.stderr.includes('Traceback'), `az itself broke: ${ran.stderr}`)
    return ran
  }

  /** What must be refused with one of ARM's codes. */
  async refused(code: string, ...args: readonly string[]): Promise<void> {
    const { stderr } = await this.fail(...args)
    assert.ok(stderr.includes(code), `az ${args.join(' ')} was to be refused with ${code}: ${stderr}`)
  }

  /** A file for commands that read one; gives its path as az sees it. */
  async file(name: string, text: string): Promise<string> {
    await writeFile(join(this.#own, name), text)
    return `${this.#inside()}/${name}`
  }

  /** The three commands of the README. */
  async login(record: FaceRecord, clientId: string, secret: string, ...more: readonly string[]): Promise<unknown> {
    await this.run('cloud', 'register', '--name', 'holdfast', '--endpoint-resource-manager', record.endpoint)
    await this.run('cloud', 'set', '--name', 'holdfast')
    return this.logIn(record, clientId, secret, ...more)
  }

  logIn({ tenantId }: FaceRecord, clientId: string, secret: string, ...more: readonly string[]): Promise<unknown> {
    const who = ['--username', clientId, '--password', secret, '--tenant', tenantId]
    return this.run('login', '--service-principal', ...who, ...more)
  }

  #inside(): string {
    return `/lab/${basename(this.#own)}`
  }

  #run(args: readonly string[]): Promise<Ran> {
    this.#commands += 1
    const env = [
      `AZURE_CONFIG_DIR=${this.#inside()}/config`,
      `REQUESTS_CA_BUNDLE=${this.#caFile.replace(this.#lab, '/lab')}`,
      'AZURE_CORE_COLLECT_TELEMETRY=0',
      'AZURE_CORE_OUTPUT=json',
      'AZURE_CORE_NO_COLOR=1',
    ]
    return this.#spawn([...env, 'az', ...args])
  }

  #spawn(command: readonly string[]): Promise<Ran> {
    const child = spawn(RUN, [this.#tree, this.#lab, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: COMMAND_MS_MAX,
      killSignal: 'SIGKILL',
    })
    const out: Buffer[] = []
    const err: Buffer[] = []
    must(child.stdout, 'It is a pipe').on('data', (data: Buffer) => out.push(data))
    must(child.stderr, 'It is a pipe').on('data', (data: Buffer) => err.push(data))
    return new Promise((done, failed) => {
      child.once('error', failed)
      child.once('close', (exitCode) =>
        done({ exitCode, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
      )
    })
  }
}
