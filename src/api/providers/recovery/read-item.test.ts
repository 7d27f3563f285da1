import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ArmError } from '#contract'
import { machineOfPath } from './item-names.ts'
import { readExclusion, readItemWish } from './read-item.ts'

const VAULT = '/subscriptions/s/resourceGroups/g/providers/Microsoft.RecoveryServices/vaults/v'
const POLICY = `${VAULT}/backupPolicies/P`
const MACHINE = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm'

function body(properties: Readonly<Record<string, unknown>>) {
  return {
    properties: { protectedItemType: 'Microsoft.Compute/virtualMachines', sourceResourceId: MACHINE, ...properties },
  }
}

function exclusion(diskExclusionProperties: unknown) {
  return readExclusion(body({ extendedProperties: { diskExclusionProperties } }))
}

test('readItemWish() tells protection, both stops and undelete apart, as az words them', () => {
  const kinds = [
    body({ policyId: POLICY }),
    body({ policyId: '', protectionState: 'ProtectionStopped' }),
    body({ policyId: '', protectionState: 'BackupsSuspended' }),
    body({ policyId: POLICY, protectionState: 'BackupsSuspended' }),
    body({ policyId: POLICY, protectionState: 'ProtectionStopped' }),
    body({ isRehydrate: true, protectionState: 'ProtectionStopped', policyId: '' }),
  ].map((one) => readItemWish(one).wish)
  assert.deepEqual(
    kinds.map((wish) => (wish.kind === 'stop' ? wish.state : wish.kind)),
    ['protect', 'ProtectionStopped', 'BackupsSuspended', 'BackupsSuspended', 'protect', 'undelete'],
  )
  assert.throws(() => readItemWish(body({})), ArmError)
  assert.throws(() => readItemWish(body({ policyId: POLICY, tags: { a: 'b' } })), ArmError)
})

test('readExclusion() replaces: absent says nothing, empty clears, lists are checked', () => {
  assert.equal(readExclusion(body({})), undefined)
  assert.equal(exclusion(null), null)
  assert.equal(exclusion({ diskLunList: [], isInclusionList: false }), null)
  assert.deepEqual(exclusion({ diskLunList: [], isInclusionList: true }), { luns: [], isInclusionList: true })
  assert.deepEqual(exclusion({ diskLunList: [3, 1], isInclusionList: false }), { luns: [1, 3], isInclusionList: false })
  for (const bad of [
    { diskLunList: [-1], isInclusionList: false },
    { diskLunList: [64], isInclusionList: true },
    { diskLunList: ['0'], isInclusionList: true },
    { diskLunList: [1] },
  ])
    assert.throws(() => exclusion(bad), ArmError, JSON.stringify(bad))
})

test('machineOfPath() takes the names in any case and refuses two machines', () => {
  const name = machineOfPath('iaasvmcontainer;IaasVmContainerV2;Rg;Vm1', 'vm;iaasvmcontainerv2;rg;vm1')
  assert.deepEqual(name, { group: 'rg', machine: 'vm1' })
  for (const [container, item] of [
    ['IaasVMContainer;iaasvmcontainerv2;rg;vm1', 'VM;iaasvmcontainerv2;rg;vm2'],
    ['IaasVMContainer;iaasvmcontainer;rg;vm1', 'VM;iaasvmcontainer;rg;vm1'],
    ['x', 'y'],
  ] as const)
    assert.throws(() => machineOfPath(container, item), ArmError)
})
