// SPDX-License-Identifier: MPL-2.0
// What thunderbird.py lets Thunderbird do, in its own process: functions of the program's interfaces, the
// same that its windows call. arguments[0] names a function of `actions`, [1] holds its arguments; the
// result (or "error: ...") goes to the last argument, as Marionette asks.
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
const { setTimeout } = ChromeUtils.importESModule('resource://gre/modules/Timer.sys.mjs');
const importCreation = name =>
    ChromeUtils.importESModule(`resource:///modules/accountcreation/${name}.sys.mjs`);
const account = () => MailServices.accounts.accounts.find(a => a.incomingServer.type === 'imap');
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

const nameAtServer = f => f.QueryInterface(Ci.nsIMsgImapMailFolder).onlineName;
const allFolders = () => account().incomingServer.rootFolder.descendants;

// By its name at the server.
function folder(path) {
    return allFolders().find(f => nameAtServer(f) === path);
}

function headers(path) {
    const box = folder(path);
    return box ? [...box.messages] : [];
}

function find(path, subject) {
    const found = headers(path).filter(h => h.mime2DecodedSubject === subject);
    if (found.length !== 1) {
        throw new Error(`${found.length} messages are called ${subject} in ${path}`);
    }
    return found[0];
}

// Resolves when the running URL ends well.
function urlListener() {
    const listener = { QueryInterface: ChromeUtils.generateQI(['nsIUrlListener']), OnStartRunningUrl() {} };
    listener.done = new Promise((resolve, reject) => {
        listener.OnStopRunningUrl = (url, status) =>
            Components.isSuccessCode(status) ? resolve() : reject(new Error(`URL ended with ${status}`));
    });
    return listener;
}

function copyListener() {
    const listener = { QueryInterface: ChromeUtils.generateQI(['nsIMsgCopyServiceListener']), onStartCopy() {},
        onProgress() {}, setMessageKey() {}, getMessageId() { return null; } };
    listener.done = new Promise((resolve, reject) => {
        listener.onStopCopy = status =>
            Components.isSuccessCode(status) ? resolve() : reject(new Error(`copy ended with ${status}`));
    });
    return listener;
}

function sendListener() {
    const listener = { QueryInterface: ChromeUtils.generateQI(['nsIMsgSendListener']), onStartSending() {},
        onSendProgress() {}, onProgress() {}, onStatus() {}, onGetDraftFolderURI() {}, onSendNotPerformed() {},
        onTransportSecurityError() {} };
    listener.done = new Promise((resolve, reject) => {
        listener.onStopSending = (id, status) =>
            Components.isSuccessCode(status) ? resolve() : reject(new Error(`sending ended with ${status}`));
    });
    return listener;
}

function configuration(host, port, user, password, tls, submitPort) {
    const { AccountConfig } = importCreation('AccountConfig');
    const config = new AccountConfig();
    config.identity = { realname: 'Anna', emailAddress: user };
    Object.assign(config.incoming, { type: 'imap', hostname: host, port, username: user, password,
        socketType: tls ? Ci.nsMsgSocketType.SSL : Ci.nsMsgSocketType.plain, auth: Ci.nsMsgAuthMethod.passwordCleartext });
    Object.assign(config.outgoing, { type: 'smtp', hostname: host, port: submitPort, username: user, password,
        socketType: tls ? Ci.nsMsgSocketType.SSL : Ci.nsMsgSocketType.plain,
        auth: Ci.nsMsgAuthMethod.passwordCleartext, addThisServer: true });
    config.rememberPassword = true;
    return config;
}

const actions = {
    // "Confirm Security Exception", for good.
    trust(host, port, certificate) {
        const database = Cc['@mozilla.org/security/x509certdb;1'].getService(Ci.nsIX509CertDB);
        Cc['@mozilla.org/security/certoverride;1'].getService(Ci.nsICertOverrideService)
            .rememberValidityOverride(host, port, {}, database.constructX509FromBase64(certificate), false);
    },
    // As the account hub does: a trial login, then the account.
    async setUp(host, port, user, password, tls, submitPort) {
        const { ConfigVerifier } = importCreation('ConfigVerifier');
        const { CreateInBackend } = importCreation('CreateInBackend');
        const config = configuration(host, port, user, password, tls, submitPort);
        const verifier = new ConfigVerifier(window.msgWindow, new AbortController().signal);
        await CreateInBackend.createAccountInBackend(await verifier.verifyConfig(config));
        return account().incomingServer.key;
    },
    folders() {
        return allFolders().map(nameAtServer).sort();
    },
    // The person clicks on the folder.
    async open(path) {
        window.document.getElementById('tabmail').currentTabInfo.folder = folder(path);
        const listener = urlListener();
        folder(path).getNewMessages(window.msgWindow, listener);
        await listener.done;
    },
    list(path) {
        return headers(path).map(h => [h.mime2DecodedSubject, h.isRead, h.isFlagged,
            h.getStringProperty('keywords'), h.messageKey]).sort();
    },
    // How many messages it keeps a copy of; it downloads them when it has nothing else to do.
    kept(path) {
        return headers(path).filter(h => h.flags & Ci.nsMsgMessageFlags.Offline).length;
    },
    flag(path, subject) {
        folder(path).markMessagesFlagged([find(path, subject)], true);
    },
    read(path, subject) {
        folder(path).markMessagesRead([find(path, subject)], true);
    },
    tag(path, subject, keyword) {
        folder(path).addKeywordsToMessages([find(path, subject)], keyword);
    },
    async move(from, to, subject, isMove) {
        const listener = copyListener();
        MailServices.copy.copyMessages(folder(from), [find(from, subject)], folder(to), isMove, listener,
            window.msgWindow, true);
        await listener.done;
    },
    async remove(path, subject) {
        const listener = copyListener();
        folder(path).deleteMessages([find(path, subject)], window.msgWindow, false, true, listener, true);
        await listener.done;
    },
    async body(path, subject) {
        const header = find(path, subject);
        const uri = folder(path).getUriForMsg(header);
        const service = MailServices.messageServiceFromURI(uri);
        return await new Promise((resolve, reject) => {
            let text = '';
            service.streamMessage(uri, { QueryInterface: ChromeUtils.generateQI(['nsIStreamListener']),
                onStartRequest() {},
                onDataAvailable(request, stream, offset, count) {
                    const input = Cc['@mozilla.org/scriptableinputstream;1']
                        .createInstance(Ci.nsIScriptableInputStream);
                    input.init(stream);
                    text += input.readBytes(count);
                },
                onStopRequest(request, status) {
                    Components.isSuccessCode(status) ? resolve(text) : reject(new Error(`body: ${status}`));
                } }, window.msgWindow, null, false, '', false);
        });
    },
    // Resolves when it is sent and a copy is in Sent.
    async send(to, subject, text) {
        const identity = account().defaultIdentity;
        const fields = Cc['@mozilla.org/messengercompose/composefields;1'].createInstance(Ci.nsIMsgCompFields);
        Object.assign(fields, { from: identity.email, to, subject });
        const listener = sendListener();
        Cc['@mozilla.org/messengercompose/send;1'].createInstance(Ci.nsIMsgSend).createAndSendMessage(
            null, identity, account().key, fields, false, false, Ci.nsIMsgSend.nsMsgDeliverNow, null, 'text/plain',
            text, window, null, listener, null, null, Ci.nsIMsgCompType.New);
        await listener.done;
    },
    async create(parent, name) {
        const at = parent ? folder(parent) : account().incomingServer.rootFolder;
        at.createSubfolder(name, window.msgWindow);
    },
    // Of the bodies, on the server.
    async search(path, text) {
        const session = Cc['@mozilla.org/messenger/searchSession;1'].createInstance(Ci.nsIMsgSearchSession);
        const term = session.createTerm();
        const value = term.value;
        value.attrib = term.attrib = Ci.nsMsgSearchAttrib.Body;
        value.str = text;
        term.value = value;
        term.op = Ci.nsMsgSearchOp.Contains;
        session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder(path));
        session.appendTerm(term);
        const hits = [];
        return await new Promise(resolve => {
            session.registerListener({ QueryInterface: ChromeUtils.generateQI(['nsIMsgSearchNotify']),
                onSearchHit(header) { hits.push(header.mime2DecodedSubject); },
                onSearchDone() { resolve(hits.sort()); }, onNewSearch() {} });
            session.search(window.msgWindow);
        });
    },
};

const done = arguments[arguments.length - 1];
(async () => actions[arguments[0]](...arguments[1]))()
    .then(value => done({ value: value ?? null }), error => done({ error: `${error}\n${error.stack}` }));
