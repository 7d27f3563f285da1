/** Restores across regions by az's own calls, and restores in a region whose first store is gone: both from the vault's copy. */
import assert from 'node:assert/strict'
import { cp, readFile, rename, rm } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { must } from '#base'
import { changeVaultPoint, findResource, listResources, type VaultPoint } from '#catalog'
import { VAULT_SETTINGS_DEFAULT } from '#domain'
import { type VaultBacking, vaultBackingOf, vaultPlace } from '#jobs'
import { checkCommand, systemClock } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import type { Failure } from './machine-api-world.ts'
import { BACKUP_VERSION, type BackupJob, JOB_MS_MAX, VaultWorld } from './vault-world.ts'

const DISKS = 'Microsoft.Compute/disks'
const DATA = '/dev/sda'
const CRR_VERSION = 'api-version=2021-11-15'

type Token = { properties: { objectType: string; accessTokenString: string } }

async function prepare(world: VaultWorld): Promise<VaultPoint> {
  const { machines } = world
  const data = await machines.emptyDisk('data')
  const dataDisks = [{ lun: 0, createOption: 'Attach', managedDisk: { id: data } }]
  await machines.succeed(await machines.put('web', await machines.microDisk('os'), { dataDisks }))
  await machines.run('web', `printf before > ${DATA}; sync`)
  await world.protect('web')
  return world.backUp('web')
}

/** The vault's copy as the mirror leaves it: the same packs, the same log. */
async function mirror(world: VaultWorld, point: VaultPoint): Promise<VaultBacking> {
  const { machines, parts } = world
  const backing = vaultBackingOf(must(await findResource(machines.api.catalog, world.vaultId), 'There is the vault'))
  const location = await vaultPlace(parts, 'westus', backing.uid)
  await cp(backing.location, location, { recursive: true })
  const settings = { ...VAULT_SETTINGS_DEFAULT, crossRegionRestore: true }
  await world.changeVault({ mirror: { region: 'westus', location }, settings })
  await machines.api.catalog.write((trx) =>
    changeVaultPoint(trx, point.itemKey, point.name, { mirroredMs: systemClock.nowMs() }),
  )
  return backing
}

/** The first six bytes that the disk shows. */
async function beginningOf(file: string): Promise<string> {
  const raw = `${file}.beginning`
  await checkCommand('qemu-img', ['dd', '-f', 'qcow2', '-O', 'raw', 'bs=512', 'count=1', `if=${file}`, `of=${raw}`])
  try {
    return (await readFile(raw)).toString('latin1', 0, 6)
  } finally {
    await rm(raw)
  }
}

function locationUrl(world: VaultWorld, region: string, what: string): string {
  const { subscription } = world.machines.api
  return `${subscription}/providers/Microsoft.RecoveryServices/locations/${region}/${what}?${CRR_VERSION}`
}

describe('restores from the copy of a vault', () => {
  it('go across regions, and in the first region while its store is gone', async (t) => {
    await using world = await VaultWorld.make()
    const { machines } = world
    const point = await prepare(world)
    const tokenUrl = world.pointUrl('web', point, 'accessToken')

    await t.test('a vault without a copy, or a point that is not in it, is refused', async () => {
      const answer = await machines.ask<Failure>('POST', tokenUrl, {})
      assert.equal(answer.status, 409, answer.text)
      assert.match(answer.text, /Cross region restore is not enabled/)
    })

    const backing = await mirror(world, point)
    await rename(backing.location, `${backing.location}-gone`)

    await t.test('a restore across regions reads the copy, by az’s calls', async () => {
      const aad = await machines.ask('GET', locationUrl(world, 'westus', 'backupAadProperties'))
      assert.equal(aad.status, 200, aad.text)
      const token = await machines.ask<Token>('POST', tokenUrl, aad.body)
      assert.equal(token.body.properties.objectType, 'CrrAccessToken', token.text)
      const restoreRequest = {
        objectType: 'IaasVMRestoreRequest',
        recoveryPointId: point.name,
        recoveryType: 'RestoreDisks',
        targetResourceGroupId: machines.group,
        region: 'westus',
      }
      const url = locationUrl(world, 'westus', 'backupCrossRegionRestore')
      const wrong = { ...token.body.properties, accessTokenString: `${token.body.properties.accessTokenString}x` }
      const refused = await machines.ask('POST', url, { crossRegionRestoreAccessDetails: wrong, restoreRequest })
      assert.equal(refused.status, 403, refused.text)
      const body = { crossRegionRestoreAccessDetails: token.body.properties, restoreRequest }
      const answer = await machines.ask('POST', url, body)
      const id = world.jobOf(answer)
      const status = await machines.ask<{ status: string; properties: { jobId: string } }>(
        'GET',
        locationUrl(world, 'westus', `backupCrrOperationsStatus/${id}`),
      )
      assert.deepEqual([status.body.status, status.body.properties.jobId], ['Succeeded', id], status.text)
      const job = await eventually('the job is over', JOB_MS_MAX, async () => {
        const asked = { resourceId: world.vaultId, jobName: id }
        const seen = await machines.ask<BackupJob>('POST', locationUrl(world, 'westus', 'backupCrrJob'), asked)
        return seen.body.properties.status === 'InProgress' ? undefined : seen.body
      })
      assert.equal(job.properties.status, 'Completed', JSON.stringify(job))
      assert.equal(job.properties.operation, 'CrossRegionRestore')
      const rows = await listResources(machines.api.catalog, { type: DISKS })
      const made = rows.filter(({ name }) => name.startsWith('web-'))
      assert.deepEqual(
        made.map(({ location, state }) => `${location} ${state}`),
        ['westus Succeeded', 'westus Succeeded'],
      )
      assert.ok(made.every(({ backing: { file } }) => String(file).includes('westus')))
      const data = must(
        made.find(({ name }) => name.includes('datadisk')),
        'It has a data disk',
      )
      assert.equal(await beginningOf(String(data.backing['file'])), 'before')
      const list = await machines.ask<{ value: unknown[] }>('POST', locationUrl(world, 'westus', 'backupCrrJobs'), {
        resourceId: world.vaultId,
      })
      assert.equal(list.body.value.length, 1, list.text)
    })

    await t.test('in the first region the copy is read when the store does not answer', async () => {
      const job = await world.ended(await world.restore('web', point, { recoveryType: 'OriginalLocation' }))
      assert.equal(job.properties.status, 'Completed', JSON.stringify(job))
      assert.equal(await machines.run('web', `head -c 6 ${DATA}`), 'before')
    })

    await t.test('what would be refused is said before it is begun', async () => {
      const ask = (properties: object) =>
        machines.ask<{ validationResults: { errorCode: string }[] }>(
          'POST',
          `${world.vaultId}/backupValidateOperation?${BACKUP_VERSION}`,
          {
            objectType: 'ValidateIaasVMRestoreOperationRequest',
            restoreRequest: {
              objectType: 'IaasVMRestoreRequest',
              recoveryPointId: point.name,
              sourceResourceId: machines.id('web'),
              ...properties,
            },
          },
        )
      const wrong = await ask({ recoveryType: 'RestoreDisks' })
      assert.deepEqual(
        wrong.body.validationResults.map(({ errorCode }) => errorCode),
        ['InvalidParameter'],
        wrong.text,
      )
      const right = await ask({ recoveryType: 'RestoreDisks', targetResourceGroupId: machines.group })
      assert.deepEqual(right.body.validationResults, [], right.text)
    })
  })
})
