/* SPDX-License-Identifier: MPL-2.0 */
/* A key set whose private halves are gone, and a token that its ES256 key has signed. */
#pragma once

/* clang-format off */
#define JWT_KEYS \
    "{\"keys\":[{\"kid\":\"rs256\",\"alg\":\"RS256\",\"use\":\"sig\",\"kty\":\"RSA\"," \
    "\"n\":\"pluDQCFHYpvS_1CCX8YkbCPMN3yzWYHnFlSB5e7lT1qU6R2P4KKpaMT5WEtZ337yncmH5Uts" \
    "h5ljt7Y-N4fiN1tMsBTGkQ_Omqk-OEvxabstrysL2LBi_EFWCNQyrvc3r8vykHAMScdS1NTiAsUUucjG" \
    "J3brgXTMftNr-AhwumrNuvTUIq5oBOERSS6Jx3TxDzUzDZGacClQUO4V0uLrokNweyE-qPMdSD6Ah45P" \
    "BhICSnwriymn1wp3-rLpP1AFowYX8SGYijAfr43ik9f51vqXkB4FSCzUkIczWu2aBCx-FKq9HznnNB0o" \
    "eBpnDoAjVvP54Te3O2qs2PhM446eGw\",\"e\":\"AQAB\"},{\"kid\":\"es256\",\"alg\":\"ES" \
    "256\",\"use\":\"sig\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"jF3WIdnoM9qtAfOH7" \
    "D9Ud-eJ5O7l_YCEfoZ_4ZRZ270\",\"y\":\"sUtUzMrOhYoYyM0GIkUmwwfPh6R4kNRIvh3cu1Fp2Ew" \
    "\"},{\"kid\":\"eddsa\",\"alg\":\"EdDSA\",\"use\":\"sig\",\"kty\":\"OKP\",\"crv\"" \
    ":\"Ed25519\",\"x\":\"LceMWvstRs2yn5o9KMqSJIMQHU2vGYNAbM8CQnE33oA\"}]}"
#define JWT_TOKEN \
    "eyJhbGciOiAiRVMyNTYiLCAia2lkIjogImVzMjU2In0.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxl" \
    "Lm9yZyIsICJhdWQiOiAibWFpbCIsICJleHAiOiAxNzAwMDAzNjAwLCAic2NvcGUiOiAib3BlbmlkIG1h" \
    "aWwiLCAiZW1haWwiOiAiYW5uYUBleGFtcGxlLm9yZyJ9.EEzn0Tr9AtYu_McSNw3DUIhp76lLAzMNviM" \
    "j3YBlt-YSJlH2bUDLQZKMizq-Zw08mHCB1_APGE6d8iDho_gnbA"
/* clang-format on */
